#include "core/context.h"

#include <cstdlib>
#include <cstring>

namespace metalora {

Scratch::~Scratch() {
    for (auto &block : blocks_) std::free(block.data);
}

void *Scratch::take(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    if (blocks_.empty() || blocks_.back().size - used_ < bytes) {
        try {
            blocks_.reserve(blocks_.size() + 1);
        } catch (...) {
            return nullptr;
        }
        auto *data = static_cast<char *>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes));
        if (data == nullptr) return nullptr;
        blocks_.push_back({data, bytes});
        held_ += bytes;
        used_ = 0;
    }
    void *result = blocks_.back().data + used_;
    used_ += bytes;
#ifdef METALORA_SANITIZE
    std::memset(result, 0xFF, bytes);  // NaN: an op that reads what it did not write shows
#endif
    return result;
}

void Scratch::reset() {
    used_ = 0;
    if (blocks_.size() <= 1) return;
    const size_t total = held_;
    for (auto &block : blocks_) std::free(block.data);
    blocks_.clear();
    held_ = 0;
    take(total);
    used_ = 0;
}

}  // namespace metalora
