// Errors in the contents of arrays, found by kernels: the host cannot check them without waiting. They are reported through a word
// of host memory that the device can write; the next call that waits returns it.
#pragma once

#include "cuda/device.cuh"

namespace metalora {
namespace cuda {

enum Fault : int { kNoFault, kFaultIds, kFaultPosition, kFaultQueryOffsets, kFaultMaxLength, kFaultKeyOffsets, kFaultSlotOffsets,
                   kFaultRows, kFaultTarget };

inline const char *fault_text(int fault) {
    switch (fault) {
        case kFaultIds: return "ml_embedding_forward: ids: an id is outside the vocabulary";
        case kFaultPosition: return "ml_rope_forward or ml_rope_backward: position: a position is outside [0, positions)";
        case kFaultQueryOffsets: return "ml_attention_forward or ml_attention_backward: q_offsets: they have to begin at 0, never decrease and end at tokens";
        case kFaultMaxLength: return "ml_attention_forward or ml_attention_backward: max_length: is below the longest segment of q_offsets";
        case kFaultKeyOffsets: return "ml_attention_forward: kv_offsets: a sequence has fewer keys than queries, or keys outside k and v";
        case kFaultSlotOffsets: return "a linear with adapters (ml_lora_linear, ml_mixture_linear, or one with the op before it): "
                                       "slot_offsets: they have to begin at 0, never decrease and end at tokens";
        case kFaultRows: return "ml_cross_entropy: rows: a row is outside [0, tokens), or with dx not above the one before it";
        case kFaultTarget: return "ml_cross_entropy: target: a target is outside the vocabulary";
        default: return "an op met contents of an array that it cannot use";
    }
}

// Segment i of offsets, whatever they hold: within [0, most] and not before its start.
struct Segment {
    int64_t begin, end;
};

__device__ inline Segment segment_of(const int32_t *offsets, int64_t i, int64_t most) {
    int64_t begin = offsets[i], end = offsets[i + 1];
    begin = begin < 0 ? 0 : begin > most ? most : begin;
    end = end < begin ? begin : end > most ? most : end;
    return {begin, end};
}

}  // namespace cuda
}  // namespace metalora
