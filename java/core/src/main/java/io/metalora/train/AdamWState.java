package io.metalora.train;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.AdamW;
import java.util.List;

/**
 * First and second moments of AdamW.
 *
 * @param m [slots, P] or [P]
 * @param v the same shape
 */
record AdamWState(Tensor m, Tensor v) implements AutoCloseable {

    static AdamWState zeros(Device device, long... shape) {
        var held = new Held();
        var m = held.add(() -> device.zeros(DType.F32, shape), Tensor::close);
        return new AdamWState(m, held.orClose(() -> device.zeros(DType.F32, shape)));
    }

    AdamW.Vectors of(Tensor parameter, Tensor gradient) {
        return new AdamW.Vectors(parameter, gradient, m, v);
    }

    @Override
    public void close() {
        Held.closeAll(List.of(m, v), Tensor::close);
    }
}
