// Worker threads of a CPU context. The caller is one of them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace metalora {

class ThreadPool {
public:
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool &) = delete;
    ThreadPool &operator=(const ThreadPool &) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Runs body(argument, part) for every part in [0, parts) and returns when all are done. Threads take the next
    // part as they become free, so a part must not depend on which thread runs it. A worker that is too late for the
    // job is not waited for. Not reentrant.
    void run(int parts, void (*body)(void *argument, int part), void *argument);

private:
    void work();
    void stop();
    void take_parts();

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    int sleeping_ = 0;       // under mutex_
    bool stopping_ = false;  // under mutex_

    // The job. A worker reads it only while it has joined, and the caller changes it only when nobody has.
    void (*body_)(void *, int) = nullptr;
    void *argument_ = nullptr;
    int parts_ = 0;
    alignas(64) std::atomic<int> next_{0};         // next part to take
    alignas(64) std::atomic<uint64_t> state_{0};   // number of the job, whether it is open, workers that have joined
};

}  // namespace metalora
