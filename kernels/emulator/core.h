// What the runtime (runtime.cpp) offers to the rest of the emulator, and to emulations of hardware (tensor_core.cuh, hopper.cuh):
// who is running, meeting other threads, exchanging values between lanes, asynchronous copies, failing with a message.
#pragma once
#include "types.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EMU_QUIET __attribute__((no_sanitize("thread")))  // a function whose loads and stores --sanitize does not see
#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()  // default arguments: the caller's place

namespace emu {

constexpr int WARP = 32, MAX_THREADS = 1024, LANE_BYTES = 64, NAMED_BARRIERS = 16;
constexpr size_t MAX_SHARED = 227 << 10;  // Hopper's limit for one block

struct Site {  // an operation in the source
    const char *what, *file;
    int line;
};

struct Thread {
    uint3 index;
    int number, lane, warp;  // number = x + size.x · (y + size.y · z); lane = number % 32; warp = number / 32
};

struct Block {
    Thread* current;  // the thread that runs now
    uint3 index;
    dim3 size, grid;
    unsigned char* dynamic;  // dynamic shared memory, aligned to 1024 bytes
    size_t dynamic_bytes;
    int threads, alive;
    bool early;  // asynchronous work is done as early as the hardware might (else as late as it may)
};

extern __thread Block* block __attribute__((tls_model("initial-exec")));  // the block of this OS thread

inline int lane() { return block->current->lane; }
inline int warp() { return block->current->warp; }
inline int thread() { return block->current->number; }
unsigned active_lanes(int line);  // of this warp: those that are at this line now

// Ends the launch. The message is printf's; kernel, block and thread are added in front of it.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Lets other threads run until *word differs from value.
void wait_while(const volatile unsigned* word, unsigned value, Site site);

void meet_block(Site site);                             // __syncthreads
int meet_block_counting(bool predicate, Site site);     // … and how many threads said true
void meet_named(int barrier, int threads, Site site);   // bar.sync barrier, threads
void arrive_named(int barrier, int threads, Site site); // bar.arrive: counts, does not wait
void meet_warp(unsigned mask, Site site);               // __syncwarp

struct Exchanged {
    const unsigned char (*values)[LANE_BYTES];  // of each lane
    unsigned present;                           // the lanes that gave one
};
Exchanged exchange(unsigned mask, const void* value, size_t bytes, Site site);

template <class T>
struct Gathered {
    Exchanged all;
    const char* what;
    int line;
    bool has(int lane) const { return all.present >> (lane & 31) & 1; }
    // The value of a lane; all bits one (NaN) if that lane takes no part.
    T get(int lane) const {
        T value;
#ifdef EMULATOR_SANITIZE
        if (!has(lane)) fail("synccheck: %s (line %d) reads lane %d, which takes no part in it", what, line, lane & 31);
#endif
        if (has(lane)) memcpy(&value, all.values[lane & 31], sizeof value);
        else memset(&value, 0xFF, sizeof value);
        return value;
    }
};

// Every lane of mask gives a value (up to 64 bytes); afterwards each can get any lane's. The lanes meet here.
template <class T>
inline Gathered<T> gather(unsigned mask, const T& value, const char* what = "gather", EMU_HERE) {
    static_assert(sizeof(T) <= LANE_BYTES, "a lane can give 64 bytes");
    return {exchange(mask, &value, sizeof value, {what, file, line}), what, line};
}

// cp.async: bytes are copied, the rest of total is filled with zeros, at the latest moment allowed (at once if block->early).
// Until then dst holds NaN.
void async_copy(void* dst, const void* src, int bytes, int total);
void async_commit();            // closes the running thread's group of copies
void async_wait(int groups);    // waits until at most so many of the running thread's groups are unfinished

// What --sanitize must be told, because it cannot see it in the kernel's own loads and stores. Nothing happens in a normal build.
//   check_read, check_write, check_atomic   an access that emulated hardware makes for the running thread
//   release, acquire                        what this thread did before release(x) is before what another does after acquire(x)
#ifdef EMULATOR_SANITIZE
void check_read(const void* address, size_t bytes);
void check_write(const void* address, size_t bytes);
void check_atomic(const void* address, size_t bytes);
void release(const void* object);
void acquire(const void* object);
void fence();  // __threadfence
#else
inline void check_read(const void*, size_t) {}
inline void check_write(const void*, size_t) {}
inline void check_atomic(const void*, size_t) {}
inline void release(const void*) {}
inline void acquire(const void*) {}
inline void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

}  // namespace emu
