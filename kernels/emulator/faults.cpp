// A CUDA thread that touches memory nobody has, misaligns a vector, divides by zero or overflows its stack becomes a message
// instead of the end of Python: the handler, on its own stack, leaves the fiber for the scheduler and never returns to it.
#include "runtime.h"
#include <mutex>
#include <signal.h>
#include <stdlib.h>

namespace emu {

namespace {

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
constexpr size_t BYTES = 64 << 10;
std::mutex lock;
int launches = 0;
struct sigaction before[3];

void on_fault(int signal, siginfo_t* info, void* context) {
    Worker* worker = this_worker();
    if (worker && worker->current) {
        if (signal == SIGFPE) fail("integer division by zero");
        fail("memcheck: illegal memory access: address %p is outside all memory, or a vector access is not aligned to its size", info->si_addr);
    }
    for (int i = 0; i < 3; ++i)  // somebody else's: as if we were not here
        if (SIGNALS[i] == signal) {
            if (before[i].sa_flags & SA_SIGINFO) return before[i].sa_sigaction(signal, info, context);
            sigaction(signal, &before[i], nullptr);  // the access is repeated, now under the handler of before
        }
}

}  // namespace

FaultHandlers::FaultHandlers() {
    std::lock_guard<std::mutex> hold(lock);
    if (launches++) return;
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &ours, &before[i]);
}

FaultHandlers::~FaultHandlers() {
    std::lock_guard<std::mutex> hold(lock);
    if (--launches) return;
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
}

FaultStack::FaultStack() : memory(static_cast<char*>(malloc(BYTES))) {
    stack_t ours = {};
    ours.ss_sp = memory;
    ours.ss_size = BYTES;
    sigaltstack(&ours, &before_);
}

FaultStack::~FaultStack() {
    sigaltstack(&before_, nullptr);
    free(memory);
}

}  // namespace emu
