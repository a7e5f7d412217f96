package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_adamw_desc;
import io.metalora.bindings.generated.ml_clip_desc;
import io.metalora.bindings.generated.ml_sgd_desc;
import io.metalora.bindings.generated.ml_task_reduce_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptors of the ops on vectors of parameters and gradients, one vector per slot. */
final class VectorDescriptors extends Descriptor {
    private final MemorySegment clip;
    private final MemorySegment sgd;
    private final MemorySegment adamw;
    private final MemorySegment taskReduce;

    VectorDescriptors(Device device, Arena arena) {
        super(device);
        this.clip = ml_clip_desc.allocate(arena);
        this.sgd = ml_sgd_desc.allocate(arena);
        this.adamw = ml_adamw_desc.allocate(arena);
        this.taskReduce = ml_task_reduce_desc.allocate(arena);
    }

    MemorySegment clip(SlotVectors of, Tensor grad, Tensor norm, float maxNorm) {
        var d = clip;
        ml_clip_desc.grad(d, need("grad", grad, DType.F32, of.elements()));
        ml_clip_desc.norm(d, need("norm", norm, DType.F32, of.slots()));
        ml_clip_desc.count(d, of.count());
        ml_clip_desc.stride(d, of.stride());
        ml_clip_desc.slots(d, of.slots());
        ml_clip_desc.max_norm(d, maxNorm);
        return d;
    }

    MemorySegment sgd(SlotVectors of, Tensor parameter, Tensor grad, float lr, float weightDecay) {
        var d = sgd;
        ml_sgd_desc.parameter(d, need("parameter", parameter, DType.F32, of.elements()));
        ml_sgd_desc.grad(d, need("grad", grad, DType.F32, of.elements()));
        ml_sgd_desc.count(d, of.count());
        ml_sgd_desc.stride(d, of.stride());
        ml_sgd_desc.slots(d, of.slots());
        ml_sgd_desc.lr(d, lr);
        ml_sgd_desc.weight_decay(d, weightDecay);
        return d;
    }

    MemorySegment adamw(SlotVectors of, AdamW.Vectors vectors, Tensor norm, long step, AdamW rule) {
        var d = adamw;
        long elements = of.elements();
        ml_adamw_desc.parameter(d, need("parameter", vectors.parameter(), DType.F32, elements));
        ml_adamw_desc.grad(d, need("gradient", vectors.gradient(), DType.F32, elements));
        ml_adamw_desc.m(d, need("m", vectors.m(), DType.F32, elements));
        ml_adamw_desc.v(d, need("v", vectors.v(), DType.F32, elements));
        ml_adamw_desc.norm(d, nullable("norm", norm, DType.F32, of.slots()));
        ml_adamw_desc.count(d, of.count());
        ml_adamw_desc.stride(d, of.stride());
        ml_adamw_desc.slots(d, of.slots());
        ml_adamw_desc.step(d, step);
        ml_adamw_desc.lr(d, rule.lr());
        ml_adamw_desc.beta1(d, rule.beta1());
        ml_adamw_desc.beta2(d, rule.beta2());
        ml_adamw_desc.eps(d, rule.eps());
        ml_adamw_desc.weight_decay(d, rule.weightDecay());
        return d;
    }

    MemorySegment taskReduce(SlotVectors of, Tensor grad, Tensor weight, Tensor out, Tensor gram) {
        var d = taskReduce;
        ml_task_reduce_desc.grad(d, need("grad", grad, DType.F32, of.elements()));
        ml_task_reduce_desc.weight(d, out == null ? MemorySegment.NULL : need("weight", weight, DType.F32, of.slots()));
        ml_task_reduce_desc.out(d, nullable("out", out, DType.F32, of.count()));
        ml_task_reduce_desc.gram(d, nullable("gram", gram, DType.F64, of.slots() * of.slots()));
        ml_task_reduce_desc.count(d, of.count());
        ml_task_reduce_desc.stride(d, of.stride());
        ml_task_reduce_desc.slots(d, of.slots());
        return d;
    }
}
