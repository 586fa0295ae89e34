// Where threads meet: barriers of the block and of warps, the exchange of values between lanes, asynchronous copies.
#include "shadow.h"

namespace emu {

namespace {

void wait_for(Barrier& barrier, unsigned generation, const Site& site) {
    wait_while(&barrier.generation, generation, site);
    barrier_left(*this_worker(), &barrier);
}

void complete(Barrier& barrier) {
    barrier_complete(*this_worker(), &barrier);
    barrier.count = 0;
    barrier.generation = barrier.generation + 1;
}

bool same_place(const Site& a, const Site& b) { return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file)); }
bool same_kind(const Site& a, const Site& b) { return a.what == b.what || !strcmp(a.what, b.what); }

void arrive_block(Barrier& barrier, const Site& site) {
    Worker& worker = *this_worker();
    if (barrier.count == 0) {
        barrier.site = site;
        barrier.first = worker.current->number;
    } else if (!same_place(barrier.site, site)) {
        fail_at("synccheck: divergent barrier: this thread is at " + describe(site) + ", thread " + std::to_string(barrier.first) + " waits at " +
                describe(barrier.site));
    }
    barrier_arrived(*this_worker(), &barrier);
    if (++barrier.count < (unsigned)worker.alive) return;
    worker.votes[(barrier.generation + 1) & 1] = 0;
    complete(barrier);
}

void arrive_at(Barrier& barrier, unsigned threads, const Site& site) {
    if (barrier.count && barrier.expected != threads)
        fail_at(describe(site) + " expects " + std::to_string(threads) + " threads, but " + describe(barrier.site) + " of the same barrier expects " +
                std::to_string(barrier.expected));
    barrier.expected = threads;
    barrier.site = site;
    barrier_arrived(*this_worker(), &barrier);
    if (++barrier.count == threads) complete(barrier);
}

Barrier& named(int barrier, int threads, const Site& site) {
    if (barrier < 0 || barrier >= NAMED_BARRIERS) fail("%s: barrier %d is not one of 0 to 15", describe(site).c_str(), barrier);
    if (threads <= 0 || threads % WARP) fail("%s: %d threads is not a multiple of 32", describe(site).c_str(), threads);
    return this_worker()->named[barrier];
}

void arrive_warp(Warp& warp, unsigned mask, const Site& site) {
    Worker& worker = *this_worker();
    if (!(mask >> lane() & 1)) fail("%s: lane %d is not in its own mask 0x%08x", describe(site).c_str(), lane(), mask);
    Barrier& barrier = warp.barriers[__builtin_ctz(mask)];
    if (barrier.count == 0) {
        barrier.site = site;
        barrier.mask = mask;
        barrier.first = worker.current->number;
    } else if (barrier.mask != mask || !same_kind(barrier.site, site)) {
        fail("synccheck: lanes of a warp meet in different operations: this one is at %s with mask 0x%08x, thread %d waits at %s with mask 0x%08x",
             describe(site).c_str(), mask, barrier.first, describe(barrier.site).c_str(), barrier.mask);
    }
    barrier_arrived(*this_worker(), &barrier);
    if (++barrier.count >= (unsigned)__builtin_popcount(mask & warp.alive)) complete(barrier);
}

}  // namespace

void wait_while(const volatile unsigned* word, unsigned value, Site site) {
    Fiber* fiber = this_worker()->running();
    if (*word != value) return;
    fiber->word = word;
    fiber->value = value;
    fiber->site = site;
    while (*word == value) leave_fiber();
    fiber->word = nullptr;
}

void meet_block(Site site) {
    Barrier& barrier = this_worker()->named[0];
    const unsigned generation = barrier.generation;
    arrive_block(barrier, site);
    wait_for(barrier, generation, site);
}

int meet_block_counting(bool predicate, Site site) {
    Worker& worker = *this_worker();
    int& votes = worker.votes[worker.named[0].generation & 1];
    votes += predicate;
    meet_block(site);
    return votes;
}

void meet_at(Barrier& barrier, int threads, const Site& site) {
    const unsigned generation = barrier.generation;
    arrive_at(barrier, threads, site);
    wait_for(barrier, generation, site);
}

void meet_named(int id, int threads, Site site) { meet_at(named(id, threads, site), threads, site); }

void arrive_named(int id, int threads, Site site) { arrive_at(named(id, threads, site), threads, site); }

void meet_warp(unsigned mask, Site site) {
    Worker& worker = *this_worker();
    Warp& warp = worker.warps[worker.current->warp];
    if (!mask) fail_at(describe(site) + ": empty mask");
    Barrier& barrier = warp.barriers[__builtin_ctz(mask)];
    const unsigned generation = barrier.generation;
    arrive_warp(warp, mask, site);
    wait_for(barrier, generation, site);
}

// A full warp needs one meeting: the next exchange uses the other half of `values`, and the one after it cannot begin before
// every lane has read. Partial masks meet before (all have read the last exchange) and after.
Exchanged exchange(unsigned mask, const void* value, size_t bytes, Site site) {
    Worker& worker = *this_worker();
    Warp& warp = worker.warps[worker.current->warp];
    const bool full = mask == ~0u;
    const int slot = full ? warp.barriers[0].generation & 1 : 2;
    if (!full) meet_warp(mask, site);
    memcpy(warp.values[slot][worker.current->lane], value, bytes);
    const unsigned present = mask & warp.alive;
    meet_warp(mask, site);
    return {warp.values[slot], present};
}

// The lanes that come to this line in the same pass of the scheduler: each notes that it is here, lets all others run, then looks.
unsigned active_lanes(int line) {
    Worker& worker = *this_worker();
    Fiber& fiber = *worker.running();
    const Poll poll = {line, worker.pass};
    fiber.polls[1] = fiber.polls[0];  // another lane may look for the last one when this lane is already back
    fiber.polls[0] = poll;
    leave_fiber();
    unsigned here = 0;
    const int first = fiber.warp * WARP;
    for (int i = first; i < first + WARP && i < worker.threads; ++i)
        for (const Poll& other : worker.fibers[i].polls) here |= (unsigned)(other.line == poll.line && other.pass == poll.pass) << (i - first);
    return here;
}

void release_after_exit(Worker& worker, Fiber& fiber) {
    Barrier& all = worker.named[0];
    if (all.count && all.count >= (unsigned)worker.alive) {
        worker.votes[(all.generation + 1) & 1] = 0;
        complete(all);
    }
    Warp& warp = worker.warps[fiber.warp];
    for (Barrier& barrier : warp.barriers)
        if (barrier.count && barrier.count >= (unsigned)__builtin_popcount(barrier.mask & warp.alive)) complete(barrier);
}

void async_copy(void* to, const void* from, int bytes, int total) {
    Fiber& fiber = *this_worker()->running();
    const Copy copy = {to, from, bytes, total};
    if (Checker* checker = this_worker()->checker) checker->copy_issued(copy, __builtin_return_address(0));
    if (this_worker()->early && !this_worker()->checker) {
        memcpy(to, from, bytes);
        memset(static_cast<char*>(to) + bytes, 0, total - bytes);
    } else {
        memset(to, 0xFF, total);
        fiber.copies.open.push_back(copy);
    }
}

void async_commit() {
    Copies& copies = this_worker()->running()->copies;
    copies.groups.push_back(std::move(copies.open));
    copies.open.clear();
}

void async_wait(int groups) {
    Copies& copies = this_worker()->running()->copies;
    while ((int)copies.groups.size() > groups) {
        for (const Copy& copy : copies.groups.front()) {
            memcpy(copy.to, copy.from, copy.bytes);
            memset(static_cast<char*>(copy.to) + copy.bytes, 0, copy.total - copy.bytes);
            if (Checker* checker = this_worker()->checker) checker->copy_done(copy);
        }
        copies.groups.erase(copies.groups.begin());
    }
}

}  // namespace emu
