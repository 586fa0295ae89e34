// The scheduler: every CUDA thread is a fiber; an OS thread (a Worker) runs the blocks it takes, one at a time, switching between
// their fibers where they wait for each other. One library for all kernels.
#include "shadow.h"
#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace emu {

__thread Block* block = nullptr;

namespace {

constexpr size_t GUARD = 4096, CANARY = 1024;
constexpr size_t WORTH_HELP = 4096;  // CUDA threads: fewer run faster than another OS thread starts

std::mutex pool_lock;
std::vector<Worker*> pool;  // idle workers keep their stacks

Worker* take_worker() {
    {
        std::lock_guard<std::mutex> hold(pool_lock);
        if (!pool.empty()) {
            Worker* worker = pool.back();
            pool.pop_back();
            return worker;
        }
    }
    Worker* worker = new Worker();
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    worker->stacks = static_cast<char*>(mmap(nullptr, MAX_THREADS * STACK, PROT_READ | PROT_WRITE, flags, -1, 0));
    worker->dynamic = static_cast<unsigned char*>(aligned_alloc(1024, MAX_SHARED + CANARY));
    return worker;
}

void give_worker(Worker* worker) {
    std::lock_guard<std::mutex> hold(pool_lock);
    pool.push_back(worker);
}

void run_fiber() {
    Worker* worker = this_worker();
    worker->body(worker->arguments);
    retire(*worker, *worker->running());
    leave_fiber();
    abort();
}

void start_fiber(Worker& worker, int number) {
    Fiber& fiber = worker.fibers[number];
    const unsigned x = worker.size.x, y = worker.size.y;
    fiber.index = uint3{number % x, number / x % y, number / (x * y)};
    fiber.number = number;
    fiber.lane = number % WARP;
    fiber.warp = number / WARP;
    fiber.done = false;
    fiber.word = nullptr;
    fiber.copies.open.clear();
    fiber.copies.groups.clear();
    char* stack = worker.stacks + number * STACK;
    for (; worker.guarded <= number; ++worker.guarded)  // a fiber that overflows its stack faults
        mprotect(worker.stacks + worker.guarded * STACK, GUARD, PROT_NONE);
    prepare(fiber.context, stack, STACK, run_fiber);
}

// Who waits for what, for the message on a deadlock: "threads 0-15 at __shfl_xor_sync (a.cu:12)".
std::string waiting(Worker& worker) {
    std::string text;
    for (int first = 0; first < worker.threads;) {
        Fiber& a = worker.fibers[first];
        int last = first;
        while (last + 1 < worker.threads && worker.fibers[last + 1].done == a.done &&
               (a.done || (worker.fibers[last + 1].site.line == a.site.line && worker.fibers[last + 1].site.what == a.site.what)))
            ++last;
        char part[300];
        const std::string who = first == last ? "thread " + std::to_string(first) : "threads " + std::to_string(first) + "-" + std::to_string(last);
        if (a.done) snprintf(part, sizeof part, "%s returned", who.c_str());
        else snprintf(part, sizeof part, "%s at %s", who.c_str(), describe(a.site).c_str());
        if (text.size() > 500) return text + "; ...";
        text += (text.empty() ? "" : "; ") + std::string(part);
        first = last + 1;
    }
    return text;
}

void start_block(Worker& worker) {
    memset(worker.dynamic, 0xFF, worker.dynamic_bytes);  // NaN: shared memory that nobody wrote shows
    memset(worker.dynamic + worker.dynamic_bytes, 0xFE, CANARY);
    memset(worker.statics.start, 0xFF, worker.statics.bytes);
    worker.alive = worker.threads;
    worker.error.clear();
    for (Barrier& barrier : worker.named) barrier = Barrier();
    for (Barrier& barrier : worker.warpgroups) barrier = Barrier();
    for (int i = 0; i * WARP < worker.threads; ++i) {
        Warp& warp = worker.warps[i];
        for (Barrier& barrier : warp.barriers) barrier = Barrier();
        const int lanes = std::min(WARP, worker.threads - i * WARP);
        warp.alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
    }
    worker.votes[0] = worker.votes[1] = 0;
    for (int i = 0; i < worker.threads; ++i) start_fiber(worker, i);
    if (worker.checker) worker.checker->start_block();
    hopper_start(worker, false);
}

void run_block(Worker& worker, const std::vector<int>& order) {
    start_block(worker);
    while (worker.alive) {
        bool ran = false;
        ++worker.pass;
        for (int i : order) {
            Fiber& fiber = worker.fibers[i];
            if (fiber.done || (fiber.word && *fiber.word == fiber.value)) continue;
            ran = true;
            worker.current = &fiber;
            switch_to(worker.home, fiber.context);
            worker.current = nullptr;
            if (!worker.error.empty()) return;
        }
        if (!ran && !hopper_idle(worker)) {
            worker.error = place(worker, nullptr) + ": synccheck: deadlock: no thread can go on: " + waiting(worker);
            return;
        }
    }
    const unsigned char* canary = worker.dynamic + worker.dynamic_bytes;
    for (size_t i = 0; i < CANARY; ++i)
        if (canary[i] != 0xFE) {
            worker.error = place(worker, nullptr) + ": memcheck: dynamic shared memory written " + std::to_string(i) +
                           " bytes past its end (the launch asked for " + std::to_string(worker.dynamic_bytes) + " bytes)";
            return;
        }
}

std::vector<int> thread_order(int threads, long long order) {
    std::vector<int> out(threads);
    for (int i = 0; i < threads; ++i) out[i] = order == -1 ? threads - 1 - i : i;
    if (order > 0) {
        unsigned long long state = (unsigned long long)order * 0x9E3779B97F4A7C15ull + 1;
        for (int i = threads - 1; i > 0; --i) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(out[i], out[(state >> 33) % (i + 1)]);
        }
    }
    return out;
}

// The i-th block to run. Shuffled: i·step + start modulo the number of blocks, with a step that has no factor in common with it.
size_t block_order(size_t i, size_t blocks, long long order) {
    if (order == 0) return i;
    if (order == -1) return blocks - 1 - i;
    size_t step = (size_t)order * 2654435761u % blocks | 1;
    while (std::__gcd(step, blocks) != 1) ++step;
    return (size_t)((unsigned __int128)i * step % blocks + order) % blocks;
}

}  // namespace

Worker* this_worker() { return static_cast<Worker*>(block); }

void leave_fiber() {
    Worker* worker = this_worker();
    switch_to(worker->running()->context, worker->home);
}

void retire(Worker& worker, Fiber& fiber) {
    fiber.done = true;
    --worker.alive;
    worker.warps[fiber.warp].alive &= ~(1u << fiber.lane);
    release_after_exit(worker, fiber);
}

std::string place(Worker& worker, Fiber* fiber) {
    char text[256];
    const uint3 b = worker.index;
    int used = snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u)", worker.kernel, b.x, b.y, b.z);
    if (fiber) snprintf(text + used, sizeof text - used, ", thread (%u, %u, %u)", fiber->index.x, fiber->index.y, fiber->index.z);
    return text;
}

std::string describe(const Site& site) {
    const char* slash = strrchr(site.file, '/');
    return std::string(site.what) + " (" + (slash ? slash + 1 : site.file) + ":" + std::to_string(site.line) + ")";
}

void fail_at(const std::string& message) {
    Worker* worker = this_worker();
    Fiber* fiber = worker->running();
    worker->error = place(*worker, fiber) + ": " + message;
    leave_fiber();
    abort();
}

void fail(const char* format, ...) {
    char text[700];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fail_at(text);
    abort();
}

}  // namespace emu

extern "C" int emulator_run(emu::Launch* launch, void (*body)(void**), emu::SharedMemory (*statics)()) {
    using namespace emu;
    const dim3 size(launch->block[0], launch->block[1], launch->block[2]), grid(launch->grid[0], launch->grid[1], launch->grid[2]);
    const size_t blocks = (size_t)grid.x * grid.y * grid.z;
    const std::vector<int> order = thread_order(size.x * size.y * size.z, launch->order);
    std::atomic<size_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex lock;
    auto work = [&] {
        Worker* worker = take_worker();
        block = worker;
        worker->current = nullptr;
        worker->kernel = launch->kernel;
        worker->size = size;
        worker->grid = grid;
        worker->threads = (int)order.size();
        worker->dynamic_bytes = launch->shared;
        worker->early = launch->early;
        worker->body = body;
        worker->arguments = launch->arguments;
        worker->statics = statics();
        std::unique_ptr<Checker> checker(launch->checks ? new Checker(*worker, *launch) : nullptr);
        worker->checker = checker.get();
        FaultStack faults;
        for (size_t i; !failed && (i = next++) < blocks;) {
            const size_t b = block_order(i, blocks, launch->order);
            worker->index = uint3{unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / ((size_t)grid.x * grid.y))};
            run_block(*worker, order);
            if (worker->error.empty()) continue;
            std::lock_guard<std::mutex> hold(lock);
            if (!failed.exchange(true)) snprintf(launch->message, sizeof launch->message, "%s", worker->error.c_str());
        }
        block = nullptr;
        give_worker(worker);
    };
    FaultHandlers handlers;
    const size_t helpers = blocks * order.size() < WORTH_HELP ? 0 : std::min<size_t>(launch->os_threads, blocks) - 1;
    std::vector<std::thread> threads;
    for (size_t i = 0; i < helpers; ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    fflush(stdout);
    return failed;
}
