#include "cpu/table.h"

#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

const OpTable table = {
    embedding_forward,
    rmsnorm_forward,
    rmsnorm_backward,
    rope_table,
    rope_forward,
    rope_backward,
    attention_forward,
    attention_backward,
    lora_linear_forward,
    lora_linear_backward,
    mixture_linear_forward,
    mixture_linear_backward,
    rmsnorm_linear_forward,
    swiglu_forward,
    swiglu_backward,
    swiglu_linear_forward,
    cross_entropy,
    fill,
    broadcast,
    clip_global_norm,
    sgd_step,
    adamw_step,
    task_reduce,
    weight_pack,
};

}  // namespace METALORA_ISA
}  // namespace metalora
