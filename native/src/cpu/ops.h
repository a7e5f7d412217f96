// The CPU ops of one instruction set. Arguments have been validated (core/api).
#pragma once

#include "cpu/runtime.h"

namespace metalora {
namespace METALORA_ISA {

ml_status weight_pack(Context &, const ml_weight_desc &, ml_weight &, int64_t first);  // weight.cpp
ml_status embedding_forward(Context &, const ml_embedding_desc &);                     // embedding.cpp
ml_status lora_linear_forward(Context &, const ml_lora_linear_desc &);                 // lora_linear.cpp
ml_status lora_linear_backward(Context &, const ml_lora_linear_desc &);
ml_status mixture_linear_forward(Context &, const ml_mixture_linear_desc &);
ml_status mixture_linear_backward(Context &, const ml_mixture_linear_desc &);
// The LoRA linear's forward in two halves, for an op that writes x: whether h can be computed from x as it is written, h of some
// rows, the rest.
bool lora_shrinks_first(const ml_lora_linear_desc &);
void lora_shrink(const ml_lora_linear_desc &, int64_t row0, int64_t row1);
ml_status lora_linear_after_shrink(Context &, const ml_lora_linear_desc &);
ml_status cross_entropy(Context &, const ml_cross_entropy_desc &);                     // cross_entropy.cpp
ml_status rmsnorm_forward(Context &, const ml_rmsnorm_desc &);                         // rmsnorm.cpp
ml_status rmsnorm_backward(Context &, const ml_rmsnorm_desc &);
void rmsnorm_rows(const ml_rmsnorm_desc &, int64_t row0, int64_t row1);                // the forward of some rows
ml_status rmsnorm_linear_forward(Context &, const ml_rmsnorm_desc &, const ml_lora_linear_desc &);  // rmsnorm_linear.cpp
ml_status rope_table(Context &, const ml_rope_table_desc &);                           // rope.cpp
ml_status rope_forward(Context &, const ml_rope_desc &);
ml_status rope_backward(Context &, const ml_rope_desc &);
ml_status attention_forward(Context &, const ml_attention_desc &);                     // attention.cpp
ml_status attention_backward(Context &, const ml_attention_desc &);
ml_status swiglu_forward(Context &, const ml_swiglu_desc &);                           // swiglu.cpp
ml_status swiglu_backward(Context &, const ml_swiglu_desc &);
void swiglu_rows(const ml_swiglu_desc &, int64_t row0, int64_t row1);                  // the forward of some rows
ml_status swiglu_linear_forward(Context &, const ml_swiglu_desc &, const ml_lora_linear_desc &);    // swiglu_linear.cpp
ml_status fill(Context &, float *values, int64_t count, float value);                  // vector.cpp
ml_status broadcast(Context &, float *to, const float *from, int64_t count, int64_t stride, int64_t slots);
ml_status clip_global_norm(Context &, const ml_clip_desc &);
ml_status sgd_step(Context &, const ml_sgd_desc &);
ml_status adamw_step(Context &, const ml_adamw_desc &);
ml_status task_reduce(Context &, const ml_task_reduce_desc &);                         // task_reduce.cpp

}  // namespace METALORA_ISA
}  // namespace metalora
