// Emulation of mbarrier, TMA and wgmma (PTX ISA 8.0, sm_90a). Asynchronous work is done as late as the program allows (when every thread
// waits, or at the wait itself), so that a missing wait reads NaN; block->early does it at once, so that a slot refilled too soon shows.
#include "shadow.h"  // first: it declares core.h's checks
#include "hopper.h"
#include <algorithm>
#include <deque>
#include <map>

namespace emu {

namespace {

constexpr int GROUP = 128;  // threads of a warpgroup

struct MBarrier {
    int arrivals, pending, bytes;  // arrivals of a phase, those missing, bytes still to come
    volatile unsigned phase;
};

struct Load {
    TensorMap map;
    char* to;
    MBarrier* barrier;
    int corner[5];
    int issuer;
};

struct Product {
    uint64_t a, b;
    int columns;
    bool accumulate, a_transposed, b_transposed;
    float* d[GROUP];
    int issued;  // threads that have come here
};

struct Warpgroup {
    std::vector<Product> products;
    size_t issued[GROUP], done;
    std::vector<size_t> committed[GROUP];  // for each group of a thread, how many products it had issued
};

}  // namespace

struct Hopper {
    std::map<void*, MBarrier> barriers;
    std::deque<Load> loads;
    Warpgroup warpgroups[MAX_THREADS / GROUP];
    float a[64][16], b[256][16];  // the operands of the product that is being computed
};

namespace {

Hopper& hopper() {
    Worker& worker = *this_worker();
    if (!worker.hopper) hopper_start(worker, true);
    return *worker.hopper;
}

MBarrier& at(void* barrier, const Site& site) {
    auto found = hopper().barriers.find(barrier);
    if (found == hopper().barriers.end()) fail_at("synccheck: " + describe(site) + " uses an mbarrier that was not initialised");
    return found->second;
}

void complete_if_due(MBarrier& barrier) {
    if (barrier.pending || barrier.bytes) return;
    barrier.pending = barrier.arrivals;
    barrier.phase = barrier.phase + 1;
}

// The 128-byte swizzle: bits 7 to 9 of an address are added (xor) to bits 4 to 6.
size_t swizzled(size_t address) { return address ^ (address >> 7 & 7) << 4; }

size_t offset_of(const void* p) { return static_cast<const unsigned char*>(p) - this_worker()->dynamic; }

void run(const Load& load) {
    Worker& worker = *this_worker();
    const TensorMap& map = load.map;
    const size_t start = load.to - reinterpret_cast<char*>(worker.dynamic);
    size_t count = 1;
    for (unsigned i = 0; i < map.rank; ++i) count *= map.box[i];
    for (size_t e = 0; e < count; ++e) {
        const char* from = map.base;
        bool inside = true;
        size_t rest = e;
        for (unsigned i = 0; i < map.rank; rest /= map.box[i], ++i) {
            const int64_t index = load.corner[i] + (int64_t)(rest % map.box[i]);
            inside = inside && index >= 0 && index < map.size[i];
            from += index * map.stride[i];
        }
        size_t to = start + e * map.element_bytes;
        if (map.swizzle) to = swizzled(to);
        if (inside) memcpy(worker.dynamic + to, from, map.element_bytes);
        else memset(worker.dynamic + to, 0, map.element_bytes);
    }
    if (worker.checker) worker.checker->filled(load.to, count * map.element_bytes, load.issuer);
    load.barrier->bytes -= (int)(count * map.element_bytes);
    complete_if_due(*load.barrier);
}

// Element (row, k) of an operand. Not transposed (K-major): rows of 64 elements = 128 bytes, groups of 8 rows `stride` apart.
// Transposed (M- or N-major): each k has a row of 64 elements, groups of 8 k `stride` apart, blocks of 64 rows `leading` apart.
float element(uint64_t descriptor, int row, int k, bool transposed) {
    const size_t start = (descriptor & 0x3FFF) << 4, leading = (descriptor >> 16 & 0x3FFF) << 4, stride = (descriptor >> 32 & 0x3FFF) << 4;
    const size_t address = transposed ? start + row / 64 * leading + k / 8 * stride + k % 8 * 128 + row % 64 * 2
                                      : start + row / 8 * stride + row % 8 * 128 + k * 2;
    const unsigned char* p = this_worker()->dynamic + swizzled(address);
    check_read(p, 2);
    uint16_t half;
    memcpy(&half, p, 2);
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// The accumulator's element i of thread t: row 16 · (t / 32) + t % 32 / 4 + 8 · (i / 2 % 2), column 8 · (i / 4) + 2 · (t % 4) + i % 2.
void run(Product& product) {
    float(*a)[16] = hopper().a, (*b)[16] = hopper().b;
    for (int k = 0; k < 16; ++k) {
        for (int row = 0; row < 64; ++row) a[row][k] = element(product.a, row, k, product.a_transposed);
        for (int column = 0; column < product.columns; ++column) b[column][k] = element(product.b, column, k, product.b_transposed);
    }
    for (int t = 0; t < GROUP; ++t)
        for (int i = 0; i < product.columns / 2; ++i) {
            const int row = 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * (t % 4) + i % 2;
            double sum = product.accumulate ? product.d[t][i] : 0.0f;
            for (int k = 0; k < 16; ++k) sum += (double)a[row][k] * b[column][k];
            product.d[t][i] = (float)sum;
        }
}

Warpgroup& warpgroup() { return hopper().warpgroups[thread() / GROUP]; }

void run_until(Warpgroup& group, size_t end, const Site& site) {
    for (; group.done < end; ++group.done) {
        if (group.products[group.done].issued != GROUP) fail_at("synccheck: " + describe(site) + ": a wgmma was not issued by the whole warpgroup");
        run(group.products[group.done]);
    }
}

}  // namespace

void hopper_start(Worker& worker, bool wanted) {
    if (!worker.hopper && !wanted) return;
    if (!worker.hopper) worker.hopper = new Hopper();
    worker.hopper->barriers.clear();
    worker.hopper->loads.clear();
    for (Warpgroup& group : worker.hopper->warpgroups) {
        group.products.clear();
        group.done = 0;
        std::fill(group.issued, group.issued + GROUP, 0);
        for (auto& committed : group.committed) committed.clear();
    }
}

bool hopper_idle(Worker& worker) {
    if (!worker.hopper || worker.hopper->loads.empty()) return false;
    const Load load = worker.hopper->loads.front();
    worker.hopper->loads.pop_front();
    run(load);
    return true;
}

void mbarrier_init(void* barrier, int arrivals) {
    hopper().barriers.erase(barrier);
    hopper().barriers.insert({barrier, {arrivals, arrivals, 0, 0}});
}

void mbarrier_arrive(void* barrier, Site site) {
    MBarrier& state = at(barrier, site);
    if (!state.pending) fail_at("synccheck: " + describe(site) + ": more arrivals than the " + std::to_string(state.arrivals) + " of the mbarrier");
    release(barrier);
    --state.pending;
    complete_if_due(state);
}

void mbarrier_arrive_expecting(void* barrier, int bytes, Site site) {
    at(barrier, site).bytes += bytes;
    mbarrier_arrive(barrier, site);
}

void mbarrier_wait(void* barrier, int parity, Site site) {
    MBarrier& state = at(barrier, site);
    const unsigned phase = state.phase;
    if ((phase & 1) == (unsigned)(parity & 1)) wait_while(&state.phase, phase, site);
    acquire(barrier);
}

void tma_load(void* to, const TensorMap& map, void* barrier, const int* corner, int rank, Site site) {
    Worker& worker = *this_worker();
    size_t bytes = map.element_bytes;
    for (unsigned i = 0; i < map.rank; ++i) bytes *= map.box[i];
    if ((int)map.rank != rank) fail_at("memcheck: " + describe(site) + ": the tensor map has " + std::to_string(map.rank) + " dimensions");
    if (offset_of(to) % (map.swizzle ? 1024 : 128))
        fail_at("memcheck: " + describe(site) + ": the destination is not aligned to 128 (swizzled: 1024) bytes");
    if (offset_of(to) + bytes > worker.dynamic_bytes)
        fail_at("memcheck: " + describe(site) + ": the box does not fit into dynamic shared memory");
    Load load = {map, static_cast<char*>(to), &at(barrier, site), {}, worker.current->number};
    std::copy(corner, corner + rank, load.corner);
    if (worker.checker) worker.checker->awaiting(to, bytes, __builtin_return_address(0));
    release(barrier);
    if (worker.early) return run(load);
    memset(to, 0xFF, bytes);
    worker.hopper->loads.push_back(load);
}

void wgmma(float* d, int columns, uint64_t a, uint64_t b, bool accumulate, bool a_transposed, bool b_transposed, Site site) {
    Warpgroup& group = warpgroup();
    const int t = thread() % GROUP;
    const size_t number = group.issued[t]++;
    if (a >> 62 != 1 || b >> 62 != 1) fail_at("memcheck: " + describe(site) + ": only descriptors of the 128-byte swizzle are emulated");
    if (number == group.products.size()) group.products.push_back({a, b, columns, accumulate, a_transposed, b_transposed, {}, 0});
    Product& product = group.products[number];
    if (product.a != a || product.b != b || product.columns != columns || product.accumulate != accumulate)
        fail_at("synccheck: " + describe(site) + ": threads of one warpgroup give different operands");
    product.d[t] = d;
    if (++product.issued == GROUP && this_worker()->early) run_until(group, number + 1, site);
}

void wgmma_commit() {
    Warpgroup& group = warpgroup();
    const int t = thread() % GROUP;
    group.committed[t].push_back(group.issued[t]);
}

void wgmma_wait(int groups, Site site) {
    Warpgroup& group = warpgroup();
    const auto& committed = group.committed[thread() % GROUP];
    meet_at(this_worker()->warpgroups[thread() / GROUP], GROUP, site);
    if ((int)committed.size() > groups) run_until(group, committed[committed.size() - 1 - groups], site);
}

}  // namespace emu
