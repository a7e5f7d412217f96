// What a context holds: its backend, the memory handed out, worker threads and scratch memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/op_table.h"
#include "core/scratch_mark.h"
#include "core/thread_pool.h"

struct ml_weight {
    ml_context *owner;
    int64_t out_features;
    int64_t in_features;
    int32_t storage_dtype;
    int64_t adapter_columns;
    int64_t bytes;
    void *data;  // device memory in the backend's layout
};

namespace metalora {

// What a backend does besides ops. All memory is allocated and freed through these, so that accounting stays in one place.
struct Backend {
    ml_backend id;
    int32_t activation_dtype;
    int32_t capabilities;  // bits of ml_capability
    bool host_readable;  // descriptors' device arrays (offsets, ids) can be validated on the host
    const OpTable *ops;
    ml_status (*allocate)(Context &, size_t bytes, void **pointer);  // 64-byte aligned, zeroed
    void (*release)(Context &, void *pointer);
    ml_status (*upload)(Context &, void *device, const void *host, size_t bytes);
    ml_status (*download)(Context &, void *host, const void *device, size_t bytes);
    ml_status (*copy)(Context &, void *to, const void *from, size_t bytes);
    ml_status (*copy_rows)(Context &, void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t rows);
    ml_status (*synchronize)(Context &);
    int64_t (*memory_free)(Context &);  // nullable
    int64_t (*weight_bytes)(const ml_weight_desc &);  // with adapter_columns as they will be
    void (*close)(Context &);  // nullable
    const GraphTable *graphs;  // nullptr without ML_CAN_RECORD
};

// Where scratch memory comes from.
struct ScratchMemory {
    void *(*allocate)(void *owner, size_t bytes);  // 64-byte aligned; nullptr when there is none
    void (*release)(void *owner, void *memory);
    void (*poison)(void *owner, void *memory, size_t bytes);    // nullable; in tests: what is taken starts as NaN
    void *owner;
};

// Scratch memory (workspace) of ops: grows to what the largest op asked for; the next op uses it again.
class Scratch {
public:
    Scratch() = default;
    ~Scratch();
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;

    void use(const ScratchMemory &memory) { memory_ = memory; }  // before anything is taken; host memory otherwise

    void *take(size_t bytes);  // 64-byte aligned, uninitialized; nullptr when there is no memory
    bool has_room(size_t bytes) const;  // whether take would not grow
    ScratchMark mark() const { return {blocks_.size(), used_, planned_}; }
    void release(const ScratchMark &mark);  // gives back what was taken since
    void reset();              // gives all of it back; joins blocks into one that would have been enough
    void free_all();

    // From begin on, take only counts and gives addresses that must not be used. end returns the most that was taken up to a reset.
    void begin_plan();
    size_t end_plan();
    bool planning() const { return planning_; }
    size_t planned() const { return planned_; }  // since the last reset
    bool hold(size_t bytes);  // that much in one block, while nothing is taken; false when there is no memory: what was held then is again
    size_t held() const { return held_; }
    uint64_t moves() const { return moves_; }  // rises whenever memory that was taken from has gone

private:
    struct Block {
        char *data;
        size_t size;
    };
    ScratchMemory memory_ = host_memory();
    static ScratchMemory host_memory();
    std::vector<Block> blocks_;
    size_t used_ = 0;  // of the last block
    size_t held_ = 0;
    uint64_t moves_ = 0;
    bool planning_ = false;
    size_t planned_ = 0, most_planned_ = 0;
};

}  // namespace metalora

struct ml_context {
    metalora::Backend backend{};
    void *state = nullptr;                    // the backend's own
    std::atomic<bool> busy{false};
    std::unique_ptr<metalora::ThreadPool> pool;
    metalora::Scratch scratch;

    std::map<uintptr_t, size_t> buffers;      // live allocations: address to bytes
    std::set<const ml_weight *> weights;      // live weights
    std::set<const ml_graph *> graphs;        // live graphs
    metalora::Recording recording;
    uint64_t freed = 0;                       // buffers and weights so far

    int64_t held = 0;                         // bytes of buffers and weights
    int64_t peak = 0;

    int64_t memory_total = 0;
    std::string device_name;
    std::string isa, isa_reason;
    std::string blas;
    bool rounds_to_bf16 = false, dots_pairs = false;  // the CPU's products: cpu/runtime.h

    int64_t in_use() const { return held + static_cast<int64_t>(scratch.held()); }
    // Rises whenever memory that a graph may hold addresses of is freed.
    uint64_t generation() const { return freed + scratch.moves(); }
    void note_peak() { if (in_use() > peak) peak = in_use(); }
};

namespace metalora {

// Device memory, counted as held by the context.
ml_status take_memory(Context &, size_t bytes, void **pointer);

// Opens a backend on a fresh context.
ml_status open_cpu(Context &, const ml_context_options &);
ml_status open_cuda(Context &, const ml_context_options &);

ml_status probe_cuda();

}  // namespace metalora
