#include "core/thread_pool.h"

namespace metalora {

namespace {

// Ops follow each other within microseconds: a worker spins that long before it sleeps.
constexpr int kSpins = 4000;

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
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    bool anyone_sleeps;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        generation_.fetch_add(1, std::memory_order_release);
        anyone_sleeps = sleeping_ > 0;
    }
    if (anyone_sleeps) wake_.notify_all();
    take_parts();
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; spin++) {
        if (spin < kSpins) pause_cpu();
        else std::this_thread::yield();
    }
}

void ThreadPool::work() {
    uint64_t seen = 0;
    for (;;) {
        int spin = 0;
        while (generation_.load(std::memory_order_acquire) == seen && spin < kSpins) {
            pause_cpu();
            spin++;
        }
        if (generation_.load(std::memory_order_acquire) == seen) {
            std::unique_lock<std::mutex> lock(mutex_);
            sleeping_++;
            wake_.wait(lock, [&] { return stopping_ || generation_.load(std::memory_order_acquire) != seen; });
            sleeping_--;
            if (generation_.load(std::memory_order_acquire) == seen) return;  // stopped
        }
        seen++;
        take_parts();
        busy_.fetch_sub(1, std::memory_order_release);
    }
}

}  // namespace metalora
