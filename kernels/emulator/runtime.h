// The runtime's own view of blocks and threads, shared by its files: runtime.cpp (scheduler), meet.cpp (barriers, exchanges,
// copies), faults.cpp (signals),
// shadow.cpp and clocks.cpp (--sanitize), hopper.cpp.
#pragma once
#include "core.h"
#include "launch.h"
#include "switch.h"
#include <signal.h>
#include <string>
#include <vector>

namespace emu {

constexpr size_t STACK = 128 << 10;  // bytes of each thread's stack

struct Checker;  // shadow.h: what --sanitize remembers
struct Hopper;   // hopper.cpp

struct Barrier {
    volatile unsigned generation = 0;  // waiting is waiting for this to change
    unsigned count = 0, mask = 0, expected = 0;
    int first = 0;  // the thread that arrived first
    Site site = {};
};

struct Copy {
    void* to;
    const void* from;
    int bytes, total;
};

struct Copies {
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;  // oldest first
};

struct Poll {  // a call of __activemask
    int line;
    unsigned long pass;
};

struct Fiber : Thread {
    Context context;
    bool done;
    const volatile unsigned* word;  // may go on when *word differs from value; null: can run
    unsigned value;
    Site site;  // where it waits
    Copies copies;
    Poll polls[2];
};

struct Warp {
    Barrier barriers[WARP];  // of full warps: 0; of partial masks: their lowest lane
    unsigned alive, present[3];
    alignas(16) unsigned char values[3][WARP][LANE_BYTES];  // full warps alternate between 0 and 1; partial masks use 2
};

struct Worker : Block {
    const char* kernel;
    Fiber fibers[MAX_THREADS];
    Warp warps[MAX_THREADS / WARP];
    Barrier named[NAMED_BARRIERS], warpgroups[MAX_THREADS / 128];
    int votes[2];
    unsigned long pass = 0;  // how often the scheduler has gone round
    Context home;  // the scheduler
    char* stacks;
    int guarded = 0;  // stacks that have their guard page
    void (*body)(void**);
    void** arguments;
    SharedMemory statics;
    std::string error;
    Hopper* hopper = nullptr;  // state of its asynchronous units, once a kernel has used them
    Checker* checker;  // null in a normal launch

    Fiber* running() { return static_cast<Fiber*>(current); }
    bool on_stack(const char* address) const { return address >= stacks && address < stacks + MAX_THREADS * STACK; }
};

Worker* this_worker();
void leave_fiber();  // to the scheduler, which comes back when the fiber can run
void retire(Worker& worker, Fiber& fiber);
void meet_at(Barrier& barrier, int threads, const Site& site);
void release_after_exit(Worker& worker, Fiber& fiber);  // a thread that returned counts as arrived
[[noreturn]] void fail_at(const std::string& message);
std::string place(Worker& worker, Fiber* fiber);  // "kernel k, block (0, 0, 0), thread (1, 0, 0)"
std::string describe(const Site& site);           // "__syncthreads (gemm.cu:40)"

void hopper_start(Worker& worker, bool wanted);  // at a block's start: nothing is under way
bool hopper_idle(Worker& worker);                // no thread can go on: finish something that is under way, if there is anything

// For --sanitize: a thread arrived at a barrier, the barrier let everybody go, a thread went.
void barrier_arrived(Worker& worker, const void* barrier);
void barrier_complete(Worker& worker, const void* barrier);
void barrier_left(Worker& worker, const void* barrier);

// Turns SIGSEGV, SIGBUS and SIGFPE of a CUDA thread into the launch's error, while a launch runs.
struct FaultHandlers {
    FaultHandlers();
    ~FaultHandlers();
};
struct FaultStack {  // the stack that the handler runs on, one for each OS thread
    FaultStack();
    ~FaultStack();
    char* memory;
    stack_t before_;
};

}  // namespace emu
