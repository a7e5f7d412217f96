package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraLayout;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** On quadratic support losses, whose gradient through inner steps is known. */
class ExactDirectionTest {

    private static final int STEPS = 3;
    private static final double RATE = 0.3;

    /** L(theta) = sum h theta^2 / 2 + (u . theta)^2 / 2 of each slot, so that grad L = h theta + (u . theta) u. */
    private record Quadratic(double[] h, double[] u) {

        static Quadratic random(Random random, int count) {
            return new Quadratic(random.doubles(count, -1, 2).toArray(), random.doubles(count, -0.05, 0.05).toArray());
        }

        double[] gradient(double[] theta) {
            double along = 0;
            for (int i = 0; i < theta.length; i++) {
                along += u[i] * theta[i];
            }
            double[] gradient = new double[theta.length];
            for (int i = 0; i < theta.length; i++) {
                gradient[i] = h[i] * theta[i] + along * u[i];
            }
            return gradient;
        }
    }

    @Test
    void isTheGradientThroughTheInnerSteps() {
        var random = new Random(8);
        try (var llama = new TinyLlama()) {
            var layout = new LoraLayout(llama.model().config(), TrainConfig.of("adapter.rank=1").adapter().lora());
            int count = (int) layout.parameters();
            Quadratic[] losses = {Quadratic.random(random, count), Quadratic.random(random, count)};
            try (var slots = new AdapterSlots(llama.device(), layout, losses.length, true);
                 var plan = new BufferPlan(llama.device())) {
                var exact = new ExactDirection(plan, slots, STEPS, RATE);
                plan.allocate();
                double[] theta = random.doubles((long) losses.length * count, -0.1, 0.1).toArray();
                for (int step = 0; step < STEPS; step++) {
                    slots.parameters().upload(floats(theta));
                    exact.keep(step);
                    theta = minus(theta, gradients(losses, theta));
                }
                double[] query = random.doubles((long) losses.length * count, -1, 1).toArray();
                slots.gradients().upload(floats(query));
                exact.through(STEPS, step -> slots.gradients()
                        .upload(floats(gradients(losses, doubles(slots.parameters().toFloats())))));

                double[] expected = query;
                for (int step = 0; step < STEPS; step++) {
                    expected = minus(expected, gradients(losses, expected)); // the Hessian times it is the gradient there
                }
                assertThat(TinyLlama.relativeError(slots.gradients().toFloats(), floats(expected))).isLessThan(1e-3);
                assertThat(TinyLlama.relativeError(floats(query), floats(expected))).isGreaterThan(0.3);
            }
        }
    }

    private static double[] gradients(Quadratic[] losses, double[] theta) {
        double[] all = new double[theta.length];
        int count = theta.length / losses.length;
        for (int slot = 0; slot < losses.length; slot++) {
            double[] own = new double[count];
            System.arraycopy(theta, slot * count, own, 0, count);
            System.arraycopy(losses[slot].gradient(own), 0, all, slot * count, count);
        }
        return all;
    }

    private static double[] minus(double[] theta, double[] gradient) {
        double[] next = new double[theta.length];
        for (int i = 0; i < theta.length; i++) {
            next[i] = theta[i] - RATE * gradient[i];
        }
        return next;
    }

    private static float[] floats(double[] values) {
        float[] floats = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            floats[i] = (float) values[i];
        }
        return floats;
    }

    private static double[] doubles(float[] values) {
        double[] doubles = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            doubles[i] = values[i];
        }
        return doubles;
    }

    @Test
    void isNotTakenInBf16Arithmetic() {
        TrainConfig config = TrainConfig.of("meta.outer=exact", "meta.tasks_per_iteration=3", "meta.support_size=3",
                "meta.query_size=2");
        try (var llama = new TinyLlama(Device.open(new DeviceOptions(Backend.CPU, 1).withArithmetic(Arithmetic.BF16)));
             var shared = llama.adapter()) {
            assertThatThrownBy(() -> new MetaLora(llama.model(), shared, TinyLlama.tasks(), config).close())
                    .isInstanceOf(InputException.class).hasMessageContaining("meta.outer").hasMessageContaining("compute.arithmetic: fp32");
        }
    }
}
