// Fibers: prepare() gives a stack a function to run, switch_to() leaves one fiber for another.
// Two ways: six pushes and pops on x86-64, and the C library's ucontext anywhere (Arm too, or forced by EMULATOR_PORTABLE).
#pragma once
#include <stddef.h>

#if defined(__x86_64__) && !defined(EMULATOR_PORTABLE)

extern "C" void emulator_switch(void** save, void* load);
// A fiber's whole state is its stack: the six registers a called function must preserve, and the address to return to.
asm(R"(
    .text
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, .-emulator_switch
)");

namespace emu {
typedef void* Context;

inline void prepare(Context& context, char* stack, size_t bytes, void (*function)()) {
    void** top = reinterpret_cast<void**>(stack + bytes - 64);
    *--top = nullptr;  // where function would return to: it must not
    *--top = reinterpret_cast<void*>(function);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    context = top;
}

inline void switch_to(Context& from, Context& to) { emulator_switch(&from, to); }
}  // namespace emu

#else
#include <ucontext.h>

namespace emu {
typedef ucontext_t Context;

inline void prepare(Context& context, char* stack, size_t bytes, void (*function)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = nullptr;
    makecontext(&context, function, 0);
}

inline void switch_to(Context& from, Context& to) { swapcontext(&from, &to); }
}  // namespace emu
#endif
