// Atomic operations on int, unsigned, 64-bit integers, float and double; memory fences. Blocks run on several OS threads, so they are real.
#pragma once
#include "core.h"

namespace emu {
template <int bytes> struct Word;
template <> struct Word<2> { typedef uint16_t type; };
template <> struct Word<4> { typedef uint32_t type; };
template <> struct Word<8> { typedef uint64_t type; };

template <class T>
EMU_QUIET inline T load_atomic(T* address) {
    typename Word<sizeof(T)>::type bits = __atomic_load_n(reinterpret_cast<decltype(bits)*>(address), __ATOMIC_SEQ_CST);
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Stores `desired` if *address still holds the bits of `expected`.
template <class T>
EMU_QUIET inline bool replace_atomic(T* address, T expected, T desired) {
    typename Word<sizeof(T)>::type before, after;
    memcpy(&before, &expected, sizeof before);
    memcpy(&after, &desired, sizeof after);
    return __atomic_compare_exchange_n(reinterpret_cast<decltype(before)*>(address), &before, after, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}
}  // namespace emu

#define EMU_ATOMIC(name, expression)                                        \
    template <class T>                                                      \
    EMU_QUIET inline T name(T* address, decltype(T()) value) {              \
        emu::check_atomic(address, sizeof(T));                              \
        for (;;) {                                                          \
            const T old = emu::load_atomic(address), next = (expression);   \
            if (emu::replace_atomic(address, old, next)) return old;        \
        }                                                                   \
    }
EMU_ATOMIC(atomicAdd, old + value)
EMU_ATOMIC(atomicSub, old - value)
EMU_ATOMIC(atomicExch, value)
EMU_ATOMIC(atomicMin, value < old ? value : old)
EMU_ATOMIC(atomicMax, old < value ? value : old)
EMU_ATOMIC(atomicAnd, old & value)
EMU_ATOMIC(atomicOr, old | value)
EMU_ATOMIC(atomicXor, old ^ value)
EMU_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
EMU_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef EMU_ATOMIC

template <class T>
EMU_QUIET inline T atomicCAS(T* address, decltype(T()) compare, decltype(T()) value) {
    emu::check_atomic(address, sizeof(T));
    for (;;) {
        const T old = emu::load_atomic(address);
        if (memcmp(&old, &compare, sizeof old)) return old;
        if (emu::replace_atomic(address, old, T(value))) return old;
    }
}

inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { emu::fence(); }
