// A launch as Python describes it (scratchvgg/cuda/emulator/launch.py has the same fields) and what the runtime makes of it.
#pragma once
#include <stddef.h>

namespace emu {

struct Region {  // memory that a kernel may touch
    char* start;
    size_t bytes;
    const char* name;
    int kind;                 // GLOBAL: an argument; SHARED: a __shared__ array; OTHER: the library's own data
    int granule;              // bytes that are written and read together: the checks remember who touched each
    int unset;                // global memory may hold the pattern of memory that nobody has written yet
};
enum { GLOBAL, SHARED, OTHER };

struct Checks {  // what --sanitize knows of a launch
    const Region* regions;
    int count;
    char *image, *image_end;  // where the kernel's library lies
};

struct Launch {
    const char* kernel;
    unsigned grid[3], block[3];
    size_t shared;            // bytes of dynamic shared memory
    long long order;          // of threads and blocks: 0 forward, -1 reverse, else the seed of a shuffle
    int os_threads;           // to spread the blocks over
    int early;                // asynchronous copies happen as early (1) or as late (0) as allowed
    void** arguments;         // a pointer to each
    const Checks* checks;     // null: a normal launch
    char message[1024];       // the error, if emulator_run returns 1
    size_t places[2];         // for --sanitize: the accesses that the message calls {0} and {1}, as offsets into the kernel's library
};

struct SharedMemory {  // the __shared__ arrays of a kernel library, for the calling OS thread
    void* start;
    size_t bytes;
};

}  // namespace emu

// Runs body(arguments) for every thread of every block. 0, or 1 with launch->message set.
extern "C" int emulator_run(emu::Launch* launch, void (*body)(void**), emu::SharedMemory (*statics)());
