// --sanitize, the order: which access is over before which. Within a block by vector clocks that barriers join, between blocks by
// a fence followed by atomics on one address.
#include "shadow.h"
#include <algorithm>

namespace emu {

namespace {
void join(std::vector<unsigned>& into, const std::vector<unsigned>& from) {
    if (into.size() < from.size()) into.resize(from.size(), 0);
    for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}
const void* completed(const void* object) { return static_cast<const char*>(object) + 1; }  // the name under which finish() keeps a round
}  // namespace

bool Checker::before(const Access& past) const {
    if (past.block != block_number()) return acquired.count(past.block);
    return clocks[worker.current->number][past.thread] >= past.clock;
}

void Checker::release(const void* object) {
    std::vector<unsigned>& mine = clocks[worker.current->number];
    join(objects[object], mine);
    ++mine[worker.current->number];
}

void Checker::acquire(const void* object) {
    auto found = objects.find(object);
    if (found == objects.end()) return;
    std::vector<unsigned>& mine = clocks[worker.current->number];
    const unsigned now = mine[worker.current->number];
    join(mine, found->second);
    mine[worker.current->number] = now;
}

void Checker::finish(const void* object) {
    objects[completed(object)] = std::move(objects[object]);
    objects[object].clear();
}

void Checker::synchronize_blocks(const void* address) {
    std::set<unsigned>& there = published[address];
    acquired.insert(there.begin(), there.end());
    if (!fenced) return;
    there.insert(block_number());
    there.insert(acquired.begin(), acquired.end());
}

void barrier_arrived(Worker& worker, const void* barrier) {
    if (worker.checker) worker.checker->release(barrier);
}
void barrier_complete(Worker& worker, const void* barrier) {
    if (worker.checker) worker.checker->finish(barrier);
}
void barrier_left(Worker& worker, const void* barrier) {
    if (worker.checker) worker.checker->acquire(completed(barrier));
}

void release(const void* object) {
    if (Checker* checker = this_worker()->checker) checker->release(object);
}
void acquire(const void* object) {
    if (Checker* checker = this_worker()->checker) checker->acquire(object);
}
void fence() {
    if (Checker* checker = this_worker()->checker) checker->fenced = true;
}

}  // namespace emu
