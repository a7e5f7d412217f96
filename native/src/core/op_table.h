// One function pointer an op. A backend fills in the whole table; arguments have been validated before a call.
#pragma once

#include "metalora.h"

namespace metalora {

using Context = ::ml_context;

struct OpTable {
    ml_status (*embedding_forward)(Context &, const ml_embedding_desc &);
    ml_status (*rmsnorm_forward)(Context &, const ml_rmsnorm_desc &);
    ml_status (*rmsnorm_backward)(Context &, const ml_rmsnorm_desc &);
    ml_status (*rope_table)(Context &, const ml_rope_table_desc &);
    ml_status (*rope_forward)(Context &, const ml_rope_desc &);
    ml_status (*rope_backward)(Context &, const ml_rope_desc &);
    ml_status (*attention_forward)(Context &, const ml_attention_desc &);
    ml_status (*attention_backward)(Context &, const ml_attention_desc &);
    ml_status (*lora_linear_forward)(Context &, const ml_lora_linear_desc &);
    ml_status (*lora_linear_backward)(Context &, const ml_lora_linear_desc &);
    ml_status (*mixture_linear_forward)(Context &, const ml_mixture_linear_desc &);
    ml_status (*mixture_linear_backward)(Context &, const ml_mixture_linear_desc &);
    ml_status (*rmsnorm_linear_forward)(Context &, const ml_rmsnorm_desc &, const ml_lora_linear_desc &);
    ml_status (*swiglu_forward)(Context &, const ml_swiglu_desc &);
    ml_status (*swiglu_backward)(Context &, const ml_swiglu_desc &);
    ml_status (*swiglu_linear_forward)(Context &, const ml_swiglu_desc &, const ml_lora_linear_desc &);
    ml_status (*cross_entropy)(Context &, const ml_cross_entropy_desc &);
    ml_status (*fill)(Context &, float *values, int64_t count, float value);
    ml_status (*broadcast)(Context &, float *to, const float *from, int64_t count, int64_t stride, int64_t slots);
    ml_status (*clip_global_norm)(Context &, const ml_clip_desc &);
    ml_status (*sgd_step)(Context &, const ml_sgd_desc &);
    ml_status (*adamw_step)(Context &, const ml_adamw_desc &);
    ml_status (*task_reduce)(Context &, const ml_task_reduce_desc &);
    // Fills rows of a weight, from `first` on, with the descriptor's host matrix.
    ml_status (*weight_pack)(Context &, const ml_weight_desc &, ml_weight &, int64_t first);
};

}  // namespace metalora
