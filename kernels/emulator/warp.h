// Barriers and everything the 32 lanes of a warp do together.
#pragma once
#include "core.h"

#define EMU_SITE(what) emu::Site { what, file, line }

inline void __syncthreads(EMU_HERE) { emu::meet_block(EMU_SITE("__syncthreads")); }
inline int __syncthreads_count(int p, EMU_HERE) { return emu::meet_block_counting(p, EMU_SITE("__syncthreads_count")); }
inline int __syncthreads_or(int p, EMU_HERE) { return emu::meet_block_counting(p, EMU_SITE("__syncthreads_or")) > 0; }
inline int __syncthreads_and(int p, EMU_HERE) { return emu::meet_block_counting(!p, EMU_SITE("__syncthreads_and")) == 0; }
inline void __syncwarp(unsigned mask = ~0u, EMU_HERE) { emu::meet_warp(mask, EMU_SITE("__syncwarp")); }

// Shuffles. Segments of `width` lanes; outside its segment a lane gets its own value back, as on the GPU.
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_HERE) {
    auto all = emu::gather(mask, value, "__shfl_sync", file, line);
    return all.get((emu::lane() & ~(width - 1)) + (source & (width - 1)));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMU_HERE) {
    auto all = emu::gather(mask, value, "__shfl_xor_sync", file, line);
    const int source = emu::lane() ^ bits;
    return source < (emu::lane() & ~(width - 1)) + width ? all.get(source) : value;
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned step, int width = 32, EMU_HERE) {
    auto all = emu::gather(mask, value, "__shfl_down_sync", file, line);
    const unsigned source = emu::lane() + step;
    return source < (unsigned)((emu::lane() & ~(width - 1)) + width) ? all.get(source) : value;
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned step, int width = 32, EMU_HERE) {
    auto all = emu::gather(mask, value, "__shfl_up_sync", file, line);
    const int source = emu::lane() - (int)step;
    return source >= (emu::lane() & ~(width - 1)) ? all.get(source) : value;
}

// Votes.
inline unsigned __activemask(int line = __builtin_LINE()) { return emu::active_lanes(line); }
inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_HERE) {
    auto all = emu::gather(mask, predicate, "__ballot_sync", file, line);
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) votes |= (unsigned)(all.has(i) && all.get(i) != 0) << i;
    return votes & mask;
}
inline int __any_sync(unsigned mask, int predicate, EMU_HERE) {
    auto all = emu::gather(mask, predicate, "__any_sync", file, line);
    for (int i = 0; i < 32; ++i)
        if (all.has(i) && all.get(i)) return 1;
    return 0;
}
inline int __all_sync(unsigned mask, int predicate, EMU_HERE) {
    auto all = emu::gather(mask, predicate, "__all_sync", file, line);
    for (int i = 0; i < 32; ++i)
        if (all.has(i) && !all.get(i)) return 0;
    return 1;
}
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value, EMU_HERE) {
    auto all = emu::gather(mask, value, "__match_any_sync", file, line);
    unsigned same = 0;
    for (int i = 0; i < 32; ++i) {
        if (!all.has(i)) continue;
        const T other = all.get(i);
        same |= (unsigned)!memcmp(&other, &value, sizeof value) << i;
    }
    return same;
}
template <class T>
inline unsigned __match_all_sync(unsigned mask, T value, int* predicate, EMU_HERE) {
    auto all = emu::gather(mask, value, "__match_all_sync", file, line);
    for (int i = 0; i < 32; ++i) {
        if (!all.has(i)) continue;
        const T other = all.get(i);
        if (memcmp(&other, &value, sizeof value)) return *predicate = 0;
    }
    *predicate = 1;
    return mask;
}

// Reductions over the lanes of mask (compute capability 8.0).
#define EMU_REDUCE(T, name, start, expression)                           \
    inline T name(unsigned mask, T value, EMU_HERE) {                    \
        auto all = emu::gather(mask, value, #name, file, line);          \
        T a = start;                                                     \
        for (int i = 0; i < 32; ++i)                                     \
            if (all.has(i)) {                                            \
                const T b = all.get(i);                                  \
                a = (expression);                                        \
            }                                                            \
        return a;                                                        \
    }
EMU_REDUCE(unsigned, __reduce_add_sync, 0u, a + b)
EMU_REDUCE(int, __reduce_add_sync, 0, (int)((unsigned)a + (unsigned)b))
EMU_REDUCE(unsigned, __reduce_min_sync, ~0u, b < a ? b : a)
EMU_REDUCE(int, __reduce_min_sync, INT_MAX, b < a ? b : a)
EMU_REDUCE(unsigned, __reduce_max_sync, 0u, a < b ? b : a)
EMU_REDUCE(int, __reduce_max_sync, INT_MIN, a < b ? b : a)
EMU_REDUCE(unsigned, __reduce_and_sync, ~0u, a & b)
EMU_REDUCE(unsigned, __reduce_or_sync, 0u, a | b)
EMU_REDUCE(unsigned, __reduce_xor_sync, 0u, a ^ b)
#undef EMU_REDUCE
