package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_cross_entropy_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#crossEntropy}. */
final class CrossEntropyDescriptor extends Descriptor {
    private final MemorySegment d;

    CrossEntropyDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_cross_entropy_desc.allocate(arena);
    }

    MemorySegment of(FrozenWeight w, Tensor x, LossRows loss, Tensor logprob, Tensor argmax, Tensor dx, long tokens) {
        long count = loss.count();
        ml_cross_entropy_desc.x(d, need("x", x, act, tokens * w.inFeatures()));
        ml_cross_entropy_desc.w(d, weight("w", w));
        ml_cross_entropy_desc.rows(d, need("rows", loss.rows(), DType.I32, count));
        ml_cross_entropy_desc.target(d, need("targets", loss.targets(), DType.I32, count));
        ml_cross_entropy_desc.row_scale(d, dx == null ? MemorySegment.NULL : need("scale", loss.scale(), DType.F32, count));
        ml_cross_entropy_desc.logprob(d, need("logprob", logprob, DType.F32, count));
        ml_cross_entropy_desc.argmax(d, nullable("argmax", argmax, DType.I32, count));
        ml_cross_entropy_desc.dx(d, nullable("dx", dx, act, tokens * w.inFeatures()));
        ml_cross_entropy_desc.tokens(d, tokens);
        ml_cross_entropy_desc.count(d, count);
        return d;
    }
}
