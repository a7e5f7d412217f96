// The ops on a stream. T is the type of activations, float or bf16; arithmetic is in float. Descriptors have been checked
// before, and shapes without elements are allowed. Semantics: metalora.h.
#pragma once

#include "cuda/device.cuh"
#include "metalora.h"

namespace metalora {
namespace cuda {

template <class T> cudaError_t rmsnorm_forward(const ml_rmsnorm_desc &, cudaStream_t);
template <class T> cudaError_t rmsnorm_backward(const ml_rmsnorm_desc &, cudaStream_t);

template <class T> cudaError_t swiglu_forward(const ml_swiglu_desc &, cudaStream_t);
template <class T> cudaError_t swiglu_backward(const ml_swiglu_desc &, cudaStream_t);

cudaError_t rope_table(const ml_rope_table_desc &, cudaStream_t);
template <class T> cudaError_t rope_forward(const ml_rope_desc &, cudaStream_t);
template <class T> cudaError_t rope_backward(const ml_rope_desc &, cudaStream_t);

cudaError_t fill(float *values, int64_t count, float value, cudaStream_t);
cudaError_t broadcast(float *to, const float *from, int64_t count, int64_t stride, int64_t slots, cudaStream_t);
cudaError_t sgd_step(const ml_sgd_desc &, cudaStream_t);
cudaError_t adamw_step(const ml_adamw_desc &, cudaStream_t);

// Doubles of scratch memory that the op needs.
int64_t clip_global_norm_scratch(const ml_clip_desc &);
cudaError_t clip_global_norm(const ml_clip_desc &, double *scratch, cudaStream_t);
int64_t task_reduce_scratch(const ml_task_reduce_desc &);
cudaError_t task_reduce(const ml_task_reduce_desc &, double *scratch, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
