// What --sanitize remembers: for each few bytes of memory who touched them last, and what every thread knows of the others' past.
#pragma once
#define EMULATOR_SANITIZE  // the declarations of core.h, not its empty functions
#include "runtime.h"
#include <map>
#include <set>

namespace emu {

constexpr uint16_t UNWRITTEN = 0xFFFE;  // fills memory that nobody has written (scratchvgg/cuda/emulator/memory.py); NaN in every type
constexpr int NOBODY = -1;

struct Access {
    int thread = NOBODY;
    unsigned block, clock, place;  // clock: the thread's own time; place: the instruction, as an offset into the kernel's library
    bool atomic;
};

struct Cell {
    Access write, read, older_read;  // two readers, different threads: one of them is not the next writer
    bool written = true;             // false: holds nothing yet
    bool pending = false;            // an asynchronous copy into it has not been waited for
};

struct Shadow {
    Region region;
    std::vector<Cell> cells;
    bool fresh = true;  // shared memory of a block that has not touched it: to be emptied before it is used
};

enum Kind { READ, WRITE, ATOMIC, VOLATILE_READ, VOLATILE_WRITE };

struct Checker {
    Worker& worker;
    Launch& launch;
    std::vector<Shadow> shadows;  // by address
    Shadow* last = nullptr;
    char *arrays = nullptr, *arrays_end = nullptr;  // from the first to the last static __shared__ array

    // Vector clocks (Fidge, Mattern): clocks[t][u] is the last moment of thread u that thread t knows to be over.
    std::vector<std::vector<unsigned>> clocks;
    std::map<const void*, std::vector<unsigned>> objects;  // what was released to each
    // Between blocks only a fence and an atomic order anything: fence in block a, atomic of a on x, atomic of b on x.
    bool fenced = false;
    std::set<unsigned> acquired;                          // blocks whose past is over for this one
    std::map<const void*, std::set<unsigned>> published;  // blocks that fenced before their atomic on this address

    Checker(Worker& worker, Launch& launch);
    void start_block();
    void access(const void* address, size_t bytes, Kind kind, size_t alignment, void* caller);
    void copy_issued(const Copy& copy, void* caller);
    void copy_done(const Copy& copy);
    void awaiting(const void* to, size_t bytes, void* caller);  // a copy that ends at some time, not when a thread says so …
    void filled(const void* to, size_t bytes, int issuer);      // … now
    void release(const void* object);
    void acquire(const void* object);
    void finish(const void* object);  // a barrier completed: what was released to it is now one thing, the next round starts empty
    void synchronize_blocks(const void* address);

    unsigned block_number() const { return worker.index.x + worker.grid.x * (worker.index.y + worker.grid.y * worker.index.z); }
    unsigned place_of(void* caller) const {  // 0 for the emulator's own code
        const char* here = static_cast<char*>(caller);
        return here < launch.checks->image || here >= launch.checks->image_end ? 0 : (unsigned)(here - launch.checks->image) - 1;
    }
    bool before(const Access& past) const;
    Shadow* find(const char* address);
    void empty(Shadow& shadow);
    bool harmless(const char* address) const;
    bool constant(const char* address) const;
    [[noreturn]] void outside(const char* address, size_t bytes, Kind kind, unsigned place);
    [[noreturn]] void race(const Shadow& shadow, size_t offset, const Access& past, const char* did, Kind kind, unsigned place);
    void touch(Shadow& shadow, Cell& cell, size_t offset, Kind kind, unsigned place);
};

}  // namespace emu
