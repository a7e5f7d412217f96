package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_swiglu_desc;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#swiglu} and its backward. */
final class SwigluDescriptor extends Descriptor {
    private final MemorySegment d;

    SwigluDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_swiglu_desc.allocate(arena);
    }

    MemorySegment forward(GateUp in, Tensor y, long rows) {
        describe(in, rows);
        ml_swiglu_desc.y(d, needRows("y", y, rows, in.width()));
        ml_swiglu_desc.y_stride(d, y.stride());
        return d;
    }

    MemorySegment backward(GateUp in, Tensor dy, GateUp gradients, long rows) {
        describe(in, rows);
        alike("dgate and gate", gradients.gate(), in.gate());
        alike("dup and gate", gradients.up(), in.gate());
        ml_swiglu_desc.dy(d, need("dy", dy, act, rows * in.width()));
        ml_swiglu_desc.dgate(d, needRows("dgate", gradients.gate(), rows, in.width()));
        ml_swiglu_desc.dup(d, needRows("dup", gradients.up(), rows, in.width()));
        ml_swiglu_desc.y_stride(d, 0); // the forward's would be checked against this width
        return d;
    }

    private void describe(GateUp in, long rows) {
        alike("up and gate", in.up(), in.gate());
        ml_swiglu_desc.gate(d, needRows("gate", in.gate(), rows, in.width()));
        ml_swiglu_desc.up(d, needRows("up", in.up(), rows, in.width()));
        ml_swiglu_desc.rows(d, rows);
        ml_swiglu_desc.width(d, in.width());
        ml_swiglu_desc.gate_stride(d, in.gate().stride());
    }
}
