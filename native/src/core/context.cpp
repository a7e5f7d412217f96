#include "core/context.h"

#include <cstdlib>
#include <cstring>

namespace metalora {

ScratchMemory Scratch::host_memory() {
    ScratchMemory memory{};
    memory.allocate = [](void *, size_t bytes) { return std::aligned_alloc(64, bytes); };
    memory.release = [](void *, void *block) { std::free(block); };
#ifdef METALORA_SANITIZE
    // NaN: an op that reads what it did not write shows.
    memory.poison = [](void *, void *taken, size_t bytes) { std::memset(taken, 0xFF, bytes); };
#endif
    return memory;
}

Scratch::~Scratch() { free_all(); }

void Scratch::free_all() {
    if (!blocks_.empty()) moves_++;
    for (auto &block : blocks_) memory_.release(memory_.owner, block.data);
    blocks_.clear();
    held_ = used_ = 0;
}

namespace {

constexpr uintptr_t kNowhere = 4096;  // aligned, and not NULL

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

bool Scratch::has_room(size_t bytes) const { return !blocks_.empty() && blocks_.back().size - used_ >= aligned(bytes); }

void *Scratch::take(size_t bytes) {
    bytes = aligned(bytes);
    if (planning_) {
        void *nowhere = reinterpret_cast<void *>(kNowhere + planned_);
        planned_ += bytes;
        if (planned_ > most_planned_) most_planned_ = planned_;
        return nowhere;
    }
    if (!has_room(bytes)) {
        try {
            blocks_.reserve(blocks_.size() + 1);
        } catch (...) {
            return nullptr;
        }
        auto *data = static_cast<char *>(memory_.allocate(memory_.owner, bytes == 0 ? 64 : bytes));
        if (data == nullptr) return nullptr;
        blocks_.push_back({data, bytes});
        held_ += bytes;
        used_ = 0;
    }
    void *result = blocks_.back().data + used_;
    used_ += bytes;
    if (memory_.poison != nullptr) memory_.poison(memory_.owner, result, bytes);
    return result;
}

void Scratch::release(const ScratchMark &mark) {
    planned_ = mark.planned;
    used_ = blocks_.size() == mark.blocks ? mark.used : 0;  // a block that came since holds nothing older
}

void Scratch::reset() {
    planned_ = 0;
    used_ = 0;
    if (blocks_.size() <= 1) return;
    const size_t total = held_;
    free_all();
    take(total);
    used_ = 0;
}

void Scratch::begin_plan() {
    planning_ = true;
    planned_ = most_planned_ = 0;
}

size_t Scratch::end_plan() {
    planning_ = false;
    return most_planned_;
}

bool Scratch::hold(size_t bytes) {
    if (held_ >= bytes) return true;
    const size_t before = held_;
    free_all();
    const bool there = take(bytes) != nullptr;
    if (!there && before > 0) take(before);  // what was held for earlier plans
    used_ = 0;
    return there;
}

ml_status take_memory(Context &context, size_t bytes, void **pointer) {
    void *memory = nullptr;
    if (ml_status status = context.backend.allocate(context, bytes, &memory); status != ML_OK) return status;
    context.held += static_cast<int64_t>(bytes);
    context.note_peak();
    *pointer = memory;
    return ML_OK;
}

}  // namespace metalora
