// How Python calls a kernel. The builder's file includes this one (before any macro of the kernel file can hurt it), then the kernel file,
// then says EMULATOR_ENTRY(name) for each extern "C" __global__ function: that exports emulator_launch_<name> and its arguments' types.
#pragma once
#include "cuda.h"
#ifndef EMULATOR_SCAN
#include "launch.h"
#include <link.h>
#include <stdio.h>
#include <type_traits>
#include <utility>

#define EMU_EXPORT extern "C" __attribute__((visibility("default")))

struct __half;  // cuda_fp16.h and cuda_bf16.h, if the kernel file includes them
struct __nv_bfloat16;

namespace emu {

// The thread-local block of this library holds its __shared__ arrays and this word, which finds it.
static thread_local int statics_anchor;

inline SharedMemory statics() {
#ifdef EMULATOR_SANITIZE
    return {nullptr, 0};  // plain variables there, known by their symbols
#else
    SharedMemory found = {&statics_anchor, sizeof statics_anchor};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
            SharedMemory& memory = *static_cast<SharedMemory*>(out);
            for (int i = 0; info->dlpi_tls_data && i < info->dlpi_phnum; ++i) {
                if (info->dlpi_phdr[i].p_type != PT_TLS) continue;
                char *start = static_cast<char*>(info->dlpi_tls_data), *anchor = static_cast<char*>(memory.start);
                const size_t bytes = info->dlpi_phdr[i].p_memsz;
                if (anchor < start || anchor >= start + bytes) continue;
                memory = {start, bytes};
                return 1;
            }
            return 0;
        },
        &found);
    return found;
#endif
}

// A type as Python reads it: kind (f float, h half, b bfloat16, i signed, u unsigned, ? bool, v void, s struct) and bytes.
template <class T>
constexpr char kind() {
    return std::is_same<T, __half>::value ? 'h' : std::is_same<T, __nv_bfloat16>::value ? 'b' : std::is_same<T, bool>::value ? '?'
         : std::is_void<T>::value ? 'v' : std::is_floating_point<T>::value ? 'f' : std::is_unsigned<T>::value ? 'u'
         : std::is_integral<T>::value || std::is_enum<T>::value ? 'i' : 's';
}
template <class T> constexpr int bytes() { return sizeof(T); }
template <> constexpr int bytes<void>() { return 0; }

template <class T>
void describe_type(char*& text) {
    typedef std::remove_pointer_t<T> Pointee;
    typedef std::remove_cv_t<Pointee> Plain;
    const char* prefix = !std::is_pointer<T>::value ? "" : std::is_const<Pointee>::value ? "c*" : "*";
    text += sprintf(text, "%s%c%d ", prefix, kind<Plain>(), bytes<Plain>());
}

template <class... A>
const char* types(void (*)(A...)) {
    static char text[16 * sizeof...(A) + 16];
    char* end = text;
    (describe_type<std::remove_cv_t<A>>(end), ...);
    return text;
}

// Emulator code is not instrumented, and GCC does not inline an instrumented kernel into it.
template <class... A, size_t... I>
EMU_QUIET void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}
template <class... A>
EMU_QUIET void call(void (*kernel)(A...), void** arguments) { call(kernel, arguments, std::index_sequence_for<A...>()); }

}  // namespace emu

#define EMULATOR_ENTRY(name)                                                                              \
    EMU_EXPORT int emulator_launch_##name(emu::Launch* launch) {                                          \
        return emulator_run(launch, [](void** arguments) EMU_QUIET { emu::call(name, arguments); }, emu::statics); \
    }                                                                                                     \
    EMU_EXPORT const char* emulator_types_##name() { return emu::types(name); }
#endif
