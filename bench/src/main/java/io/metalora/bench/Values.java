package io.metalora.bench;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.util.SplittableRandom;

/** Seeded random numbers for the benchmarks' operands. */
final class Values {
    private Values() {}

    /** Uniform in (-range, range). */
    static float[] random(long seed, int count, float range) {
        var random = new SplittableRandom(seed);
        var values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextDouble(-range, range);
        }
        return values;
    }

    /** A tensor of such numbers. */
    static Tensor tensor(Device device, long seed, float range, long... shape) {
        Tensor tensor = device.zeros(DType.F32, shape);
        tensor.upload(random(seed, Math.toIntExact(tensor.elements()), range));
        return tensor;
    }
}
