// The ops. T is the type of activations, float or bf16; arithmetic is in float. Descriptors have been checked before, and
// shapes without elements are allowed. What takes a State may take scratch memory (workspace), and throws std::bad_alloc
// where there is none. Semantics: metalora.h.
#pragma once

#include "cuda/device.cuh"
#include "cuda/state.h"
#include "metalora.h"

namespace metalora {
namespace cuda {

cudaError_t weight_pack(State &, const ml_weight_desc &, const ml_weight &, int64_t first);  // fills rows from `first` on
template <class T> cudaError_t embedding_forward(State &, const ml_embedding_desc &);

template <class T> cudaError_t rmsnorm_forward(const ml_rmsnorm_desc &, cudaStream_t);
template <class T> cudaError_t rmsnorm_backward(const ml_rmsnorm_desc &, cudaStream_t);

template <class T> cudaError_t swiglu_forward(const ml_swiglu_desc &, cudaStream_t);
template <class T> cudaError_t swiglu_backward(const ml_swiglu_desc &, cudaStream_t);

cudaError_t rope_table(const ml_rope_table_desc &, cudaStream_t);
template <class T> cudaError_t rope_forward(const ml_rope_desc &, int *fault, cudaStream_t);
template <class T> cudaError_t rope_backward(const ml_rope_desc &, int *fault, cudaStream_t);

bool attention_supports(int64_t head_dim);
// most_keys: rows that k and v have room for.
template <class T> cudaError_t attention_forward(State &, const ml_attention_desc &, int64_t most_keys);
template <class T> cudaError_t attention_backward(State &, const ml_attention_desc &);

template <class T> cudaError_t lora_linear_forward(State &, const ml_lora_linear_desc &);
template <class T> cudaError_t lora_linear_backward(State &, const ml_lora_linear_desc &);
template <class T> cudaError_t mixture_linear_forward(State &, const ml_mixture_linear_desc &);
template <class T> cudaError_t mixture_linear_backward(State &, const ml_mixture_linear_desc &);
template <class T> cudaError_t rmsnorm_linear_forward(State &, const ml_rmsnorm_desc &, const ml_lora_linear_desc &);
template <class T> cudaError_t swiglu_linear_forward(State &, const ml_swiglu_desc &, const ml_lora_linear_desc &);

template <class T> cudaError_t cross_entropy(State &, const ml_cross_entropy_desc &);

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
