#include "core/thread_pool.h"

namespace metalora {

namespace {

// Ops follow each other within microseconds: a worker spins that long before it sleeps.
constexpr int kSpins = 4000;

// ThreadPool::state_: the job's number in the upper half, below it kOpen and the count of workers inside.
constexpr uint64_t kJob = uint64_t(1) << 32;
constexpr uint64_t kOpen = uint64_t(1) << 31;
constexpr uint64_t kWorkers = kOpen - 1;

inline void pause_cpu() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
    workers_.reserve(threads - 1);
    try {
        for (int i = 1; i < threads; i++) workers_.emplace_back([this] { work(); });
    } catch (...) {
        stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (auto &worker : workers_) worker.join();
}

void ThreadPool::take_parts() {
    for (int part; (part = next_.fetch_add(1, std::memory_order_relaxed)) < parts_;) body_(argument_, part);
}

void ThreadPool::run(int parts, void (*body)(void *, int), void *argument) {
    if (parts <= 1 || workers_.empty()) {
        for (int part = 0; part < parts; part++) body(argument, part);
        return;
    }
    body_ = body;
    argument_ = argument;
    parts_ = parts;
    next_.store(0, std::memory_order_relaxed);
    bool anyone_sleeps;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        state_.fetch_add(kJob + kOpen, std::memory_order_release);
        anyone_sleeps = sleeping_ > 0;
    }
    if (anyone_sleeps) wake_.notify_all();
    take_parts();
    // No part is left to take: nobody else gets in, and those inside finish their last one.
    uint64_t state = state_.fetch_sub(kOpen, std::memory_order_acq_rel);
    for (int spin = 0; (state & kWorkers) != 0; spin++) {
        if (spin < kSpins) pause_cpu();
        else std::this_thread::yield();
        state = state_.load(std::memory_order_acquire);
    }
}

void ThreadPool::work() {
    uint64_t seen = 0;  // number of the last job this worker knows of
    const auto news = [&] { return state_.load(std::memory_order_acquire) / kJob != seen; };
    for (;;) {
        for (int spin = 0; !news() && spin < kSpins; spin++) pause_cpu();
        if (!news()) {
            std::unique_lock<std::mutex> lock(mutex_);
            sleeping_++;
            wake_.wait(lock, [&] { return stopping_ || news(); });
            sleeping_--;
            if (!news()) return;  // stopping
        }
        uint64_t state = state_.load(std::memory_order_acquire);
        seen = state / kJob;
        while ((state & kOpen) != 0 && state / kJob == seen) {
            if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
            take_parts();
            state_.fetch_sub(1, std::memory_order_release);
            break;
        }
    }
}

}  // namespace metalora
