package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_rmsnorm_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#rmsnorm}, {@link Ops#headNorm} and their backward. */
final class RmsNormDescriptor extends Descriptor {
    private final MemorySegment d;

    RmsNormDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_rmsnorm_desc.allocate(arena);
    }

    MemorySegment forward(RmsNorm norm, Tensor x, Tensor y, Tensor rstd, long rows) {
        describe(norm, need("x", x, act, rows * norm.width()), rows);
        ml_rmsnorm_desc.y(d, needRows("y", y, rows, norm.width()));
        ml_rmsnorm_desc.out_stride(d, y.stride());
        ml_rmsnorm_desc.rstd(d, nullable("rstd", rstd, DType.F32, rows));
        return d;
    }

    MemorySegment backward(RmsNorm norm, Tensor x, Tensor rstd, Tensor dy, Tensor dx, boolean accumulate, long rows) {
        describe(norm, need("x", x, act, rows * norm.width()), rows);
        ml_rmsnorm_desc.rstd(d, need("rstd", rstd, DType.F32, rows));
        ml_rmsnorm_desc.dy(d, need("dy", dy, act, rows * norm.width()));
        ml_rmsnorm_desc.dx(d, needRows("dx", dx, rows, norm.width()));
        ml_rmsnorm_desc.out_stride(d, dx.stride());
        ml_rmsnorm_desc.accumulate(d, accumulate ? 1 : 0);
        return d;
    }

    MemorySegment headsForward(RmsNorm norm, long heads, Tensor x, Tensor y, Tensor rstd, long tokens) {
        describeHeads(norm, heads, x, tokens);
        ml_rmsnorm_desc.y(d, needRows("y", y, tokens, heads * norm.width()));
        ml_rmsnorm_desc.out_stride(d, y.stride());
        ml_rmsnorm_desc.rstd(d, nullable("rstd", rstd, DType.F32, tokens * heads));
        return d;
    }

    MemorySegment headsBackward(RmsNorm norm, long heads, Tensor x, Tensor rstd, Tensor dy, Tensor dx, long tokens) {
        describeHeads(norm, heads, x, tokens);
        ml_rmsnorm_desc.rstd(d, need("rstd", rstd, DType.F32, tokens * heads));
        ml_rmsnorm_desc.dy(d, needRows("dy", dy, tokens, heads * norm.width()));
        ml_rmsnorm_desc.dy_stride(d, dy.stride());
        ml_rmsnorm_desc.dx(d, needRows("dx", dx, tokens, heads * norm.width()));
        ml_rmsnorm_desc.out_stride(d, dx.stride());
        ml_rmsnorm_desc.accumulate(d, 0);
        return d;
    }

    private void describeHeads(RmsNorm norm, long heads, Tensor x, long tokens) {
        describe(norm, needRows("x", x, tokens, heads * norm.width()), tokens * heads);
        ml_rmsnorm_desc.group(d, heads);
        ml_rmsnorm_desc.x_stride(d, x.stride());
    }

    private void describe(RmsNorm norm, MemorySegment x, long rows) {
        ml_rmsnorm_desc.x(d, x);
        ml_rmsnorm_desc.group(d, 1);
        ml_rmsnorm_desc.x_stride(d, 0);
        ml_rmsnorm_desc.dy_stride(d, 0);
        ml_rmsnorm_desc.weight(d, need("weight", norm.weight(), DType.F32, norm.width()));
        ml_rmsnorm_desc.rows(d, rows);
        ml_rmsnorm_desc.width(d, norm.width());
        ml_rmsnorm_desc.eps(d, norm.eps());
    }
}
