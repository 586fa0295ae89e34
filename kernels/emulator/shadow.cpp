// --sanitize, the memory: every load and store of a kernel compiled with -fsanitize=thread calls one of the functions at the end,
// which are ours and not the sanitizer's. An access is checked like compute-sanitizer's four tools would: memcheck (does it lie in memory
// of this launch, is it aligned), initcheck (has anybody written what is read), racecheck (is the last access of another thread over).
#include "shadow.h"
#include <algorithm>

namespace emu {

namespace {

// Whether these bytes still hold the pattern of memory that nobody has written.
bool unwritten(const char* start, size_t bytes) {
    for (size_t i = 0; i + 1 < bytes; i += 2) {
        uint16_t half;
        memcpy(&half, start + i, 2);
        if (half != UNWRITTEN) return false;
    }
    return bytes >= 2;
}

const char* name(Kind kind) { return kind == READ || kind == VOLATILE_READ ? "read" : kind == ATOMIC ? "atomic operation" : "write"; }

std::string place_in(const Shadow& shadow, size_t offset) {
    return std::string(shadow.region.name) + " at byte " + std::to_string(offset) + " of " + std::to_string(shadow.region.bytes);
}

}  // namespace

Checker::Checker(Worker& worker, Launch& launch) : worker(worker), launch(launch) {
    std::vector<Region> regions(launch.checks->regions, launch.checks->regions + launch.checks->count);
    if (launch.shared) regions.push_back({reinterpret_cast<char*>(worker.dynamic), launch.shared, "dynamic shared memory", SHARED, 1, 0});
    for (const Region& region : regions) {
        if (!region.bytes) continue;
        if (region.kind == SHARED && region.start != reinterpret_cast<char*>(worker.dynamic)) {
            arrays = arrays ? std::min(arrays, region.start) : region.start;
            arrays_end = std::max(arrays_end, region.start + region.bytes);
        }
        shadows.push_back({region, std::vector<Cell>(region.kind == GLOBAL ? (region.bytes + region.granule - 1) / region.granule : 0)});
        if (!region.unset) continue;
        // Elements of one or two bytes can hold the pattern by chance: there, four (eight) bytes together must.
        const size_t step = region.granule >= 4 ? 4 : 8;
        for (size_t i = 0; i + step <= region.bytes; i += step)
            if (unwritten(region.start + i, step))
                for (size_t j = i; j < i + step; j += region.granule) shadows.back().cells[j / region.granule].written = false;
    }
    std::sort(shadows.begin(), shadows.end(), [](const Shadow& a, const Shadow& b) { return a.region.start < b.region.start; });
}

void Checker::start_block() {
    clocks.assign(worker.threads, std::vector<unsigned>(worker.threads, 0));
    for (int i = 0; i < worker.threads; ++i) clocks[i][i] = 1;
    objects.clear();
    acquired.clear();
    fenced = false;
    last = nullptr;
    for (Shadow& shadow : shadows) shadow.fresh = true;
}

void Checker::empty(Shadow& shadow) {
    memset(shadow.region.start, 0xFF, shadow.region.bytes);
    Cell unwritten;
    unwritten.written = false;
    shadow.cells.assign((shadow.region.bytes + shadow.region.granule - 1) / shadow.region.granule, unwritten);
}

Shadow* Checker::find(const char* address) {
    if (last && address >= last->region.start && address < last->region.start + last->region.bytes) return last;
    auto after = std::upper_bound(shadows.begin(), shadows.end(), address, [](const char* a, const Shadow& s) { return a < s.region.start; });
    if (after == shadows.begin()) return nullptr;
    Shadow& shadow = *(after - 1);
    if (address >= shadow.region.start + shadow.region.bytes) return nullptr;
    if (shadow.region.kind == SHARED && shadow.fresh) empty(shadow);
    shadow.fresh = false;
    return last = &shadow;
}

// The threads' stacks and the emulator's own memory.
bool Checker::harmless(const char* address) const {
    const char *self = reinterpret_cast<char*>(&worker), *here = reinterpret_cast<char*>(&block);
    return worker.on_stack(address) || (address >= self && address < self + sizeof worker) || (address >= here && address < here + sizeof block);
}

// The library's constants have no symbols; they do not lie among the __shared__ arrays.
bool Checker::constant(const char* address) const {
    return address >= launch.checks->image && address < launch.checks->image_end && (address < arrays || address >= arrays_end);
}

void Checker::access(const void* pointer, size_t bytes, Kind kind, size_t alignment, void* caller) {
    const char* address = static_cast<const char*>(pointer);
    if (!worker.current || harmless(address)) return;
    const unsigned place = place_of(caller);
    Shadow* shadow = find(address);
    if (!shadow) {
        if ((kind == READ || kind == VOLATILE_READ) && constant(address)) return;
        outside(address, bytes, kind, place);
    }
    const size_t offset = address - shadow->region.start;
    if (offset + bytes > shadow->region.bytes) outside(address, bytes, kind, place);
    if ((uintptr_t)address % alignment) {
        launch.places[0] = place;
        fail("memcheck: misaligned %s of %zu bytes in %s {0}", name(kind), bytes, place_in(*shadow, offset).c_str());
    }
    if (shadow->region.kind == OTHER) return;
    const size_t granule = shadow->region.granule;
    for (size_t i = offset / granule; i <= (offset + bytes - 1) / granule; ++i) touch(*shadow, shadow->cells[i], i * granule, kind, place);
    if (kind == ATOMIC) synchronize_blocks(pointer);
}

void Checker::touch(Shadow& shadow, Cell& cell, size_t offset, Kind kind, unsigned place) {
    const bool reads = kind == READ || kind == VOLATILE_READ || kind == ATOMIC, writes = kind != READ && kind != VOLATILE_READ;
    const bool atomic = kind != READ && kind != WRITE;
    const bool overtaken = cell.write.thread != NOBODY && !(atomic && cell.write.atomic) && !before(cell.write);
    if (overtaken) race(shadow, offset, cell.write, "written", kind, place);
    if (reads && !cell.written) {
        launch.places[0] = place;
        fail("initcheck: %s of %s {0}, which %s", name(kind), place_in(shadow, offset).c_str(),
             cell.pending ? "an asynchronous copy fills that has not been waited for" : "nobody has written");
    }
    const int thread = worker.current->number;
    const Access now = {thread, block_number(), clocks[thread][thread], place, atomic};
    if (writes) {
        for (const Access* read : {&cell.read, &cell.older_read})
            if (read->thread != NOBODY && !(atomic && read->atomic) && !before(*read)) race(shadow, offset, *read, "read", kind, place);
        cell.write = now;
        cell.read.thread = cell.older_read.thread = NOBODY;
        cell.written = true;
        cell.pending = false;
    } else {
        if (cell.read.thread != thread || cell.read.block != now.block) cell.older_read = cell.read;
        cell.read = now;
    }
}

void Checker::outside(const char* address, size_t bytes, Kind kind, unsigned place) {
    launch.places[0] = place;
    const Region* nearest = nullptr;
    size_t distance = 64 << 20;
    for (const Shadow& shadow : shadows) {
        const Region& region = shadow.region;
        const char* end = region.start + region.bytes;
        const size_t gap = address < region.start ? region.start - address : address < end ? 0 : address - end;
        if (region.kind != OTHER && gap < distance) distance = gap, nearest = &region;
    }
    if (!nearest) fail("memcheck: %s of %zu bytes at address %p {0}, which is in no memory of this launch", name(kind), bytes, address);
    const bool below = address < nearest->start, across = !below && address < nearest->start + nearest->bytes;
    fail("memcheck: %s of %zu bytes %zu bytes %s of %s, which has %zu bytes {0}", name(kind), bytes,
         across ? address + bytes - nearest->start - nearest->bytes : distance,
         below ? "before the start" : across ? "across the end" : "past the end", nearest->name, nearest->bytes);
}

void Checker::race(const Shadow& shadow, size_t offset, const Access& past, const char* did, Kind kind, unsigned place) {
    launch.places[0] = place;
    launch.places[1] = past.place;
    const dim3& size = worker.size;
    const unsigned t = past.thread, x = worker.grid.x, y = worker.grid.y, b = past.block;
    char other[120] = "";
    int used = 0;
    if (b != block_number()) used = snprintf(other, sizeof other, "block (%u, %u, %u), ", b % x, b / x % y, b / (x * y));
    snprintf(other + used, sizeof other - used, "thread (%u, %u, %u)", t % size.x, t / size.x % size.y, t / (size.x * size.y));
    fail("racecheck: %s of %s {0}, which %s has %s {1} with nothing between them that orders the two", name(kind), place_in(shadow, offset).c_str(),
         other, did);
}

void Checker::awaiting(const void* to, size_t bytes, void* caller) {
    access(to, bytes, WRITE, 1, caller);
    Shadow& shadow = *find(static_cast<const char*>(to));
    const size_t offset = static_cast<const char*>(to) - shadow.region.start;
    for (size_t i = offset; i < offset + bytes; i += shadow.region.granule) {
        Cell& cell = shadow.cells[i / shadow.region.granule];
        cell.written = false;
        cell.pending = true;
    }
}

void Checker::filled(const void* to, size_t bytes, int issuer) {
    Shadow& shadow = *find(static_cast<const char*>(to));
    const size_t offset = static_cast<const char*>(to) - shadow.region.start;
    for (size_t i = offset; i < offset + bytes; i += shadow.region.granule) {
        Cell& cell = shadow.cells[i / shadow.region.granule];
        if (!cell.pending || cell.write.thread != issuer) continue;
        cell.written = true;
        cell.pending = false;
    }
}

// What the copying thread has waited for is its write of now: others need a barrier after this wait.
void Checker::copy_done(const Copy& copy) {
    const int thread = worker.current->number;
    filled(copy.to, copy.total, thread);
    Shadow& shadow = *find(static_cast<char*>(copy.to));
    const size_t offset = static_cast<char*>(copy.to) - shadow.region.start;
    for (size_t i = offset; i < offset + copy.total; i += shadow.region.granule) {
        Access& write = shadow.cells[i / shadow.region.granule].write;
        if (write.thread == thread) write.clock = clocks[thread][thread];
    }
}

void Checker::copy_issued(const Copy& copy, void* caller) {
    if (copy.bytes) access(copy.from, copy.bytes, READ, 1, caller);
    awaiting(copy.to, copy.total, caller);
}

namespace {
inline void seen(const void* address, size_t bytes, Kind kind, size_t alignment, void* caller) {
    Worker* worker = this_worker();
    if (worker && worker->checker) worker->checker->access(address, bytes, kind, alignment, caller);
}
}  // namespace

void check_read(const void* address, size_t bytes) { seen(address, bytes, READ, 1, __builtin_return_address(0)); }
void check_write(const void* address, size_t bytes) { seen(address, bytes, WRITE, 1, __builtin_return_address(0)); }
void check_atomic(const void* address, size_t bytes) { seen(address, bytes, ATOMIC, bytes, __builtin_return_address(0)); }

}  // namespace emu

#define SEEN(name, bytes, kind, alignment) \
    extern "C" void __tsan_##name(void* address) { emu::seen(address, bytes, emu::kind, alignment, __builtin_return_address(0)); }
#define SEEN_SIZE(bytes)                                                    \
    SEEN(read##bytes, bytes, READ, bytes)                                   \
    SEEN(write##bytes, bytes, WRITE, bytes)                                 \
    SEEN(unaligned_read##bytes, bytes, READ, 1)                             \
    SEEN(unaligned_write##bytes, bytes, WRITE, 1)                           \
    SEEN(volatile_read##bytes, bytes, VOLATILE_READ, bytes)                 \
    SEEN(volatile_write##bytes, bytes, VOLATILE_WRITE, bytes)               \
    SEEN(unaligned_volatile_read##bytes, bytes, VOLATILE_READ, 1)           \
    SEEN(unaligned_volatile_write##bytes, bytes, VOLATILE_WRITE, 1)
SEEN_SIZE(1)
SEEN_SIZE(2)
SEEN_SIZE(4)
SEEN_SIZE(8)
SEEN_SIZE(16)
extern "C" void __tsan_init() {}
extern "C" void __tsan_read_range(void* address, size_t bytes) { emu::seen(address, bytes, emu::READ, 1, __builtin_return_address(0)); }
extern "C" void __tsan_write_range(void* address, size_t bytes) { emu::seen(address, bytes, emu::WRITE, 1, __builtin_return_address(0)); }

// What GCC passes to the handlers of -fsanitize=bounds and -fsanitize=alignment, as libubsan declares it.
struct SourceLine {
    const char* file;
    uint32_t line, column;
};
struct TypeName {
    uint16_t kind, info;
    char name[1];
};
struct OutOfBounds {
    SourceLine at;
    const TypeName *array, *index;
};
struct TypeMismatch {
    SourceLine at;
    const TypeName* type;
    unsigned char log_alignment, access;
};

static std::string line_of(const SourceLine& at) {
    const char* slash = strrchr(at.file, '/');
    return std::string("(") + (slash ? slash + 1 : at.file) + ":" + std::to_string(at.line) + ")";
}

// An index outside of an array whose size the compiler knows, in registers and __shared__ alike.
extern "C" void __ubsan_handle_out_of_bounds(OutOfBounds* what, void* index) {
    if (!emu::this_worker() || !emu::this_worker()->current) return;
    emu::fail("memcheck: index %lld is outside of the array %s %s", (long long)(intptr_t)index, what->array->name, line_of(what->at).c_str());
}

// A pointer that is not aligned to the type behind it. (GCC may split the access, so that its parts are aligned; a GPU faults.)
extern "C" void __ubsan_handle_type_mismatch_v1(TypeMismatch* what, void* pointer) {
    emu::Worker* worker = emu::this_worker();
    if (!worker || !worker->checker) return;
    const char* address = static_cast<char*>(pointer);
    const emu::Shadow* shadow = worker->checker->find(address);
    const std::string where = shadow ? " in " + emu::place_in(*shadow, address - shadow->region.start) : "";
    emu::fail("memcheck: misaligned access to %s%s %s", what->type->name, where.c_str(), line_of(what->at).c_str());
}
