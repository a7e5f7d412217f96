package io.metalora.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** A device in the hands of several threads, and after it was closed. */
class DeviceTest {

    @Test
    void aSecondThreadIsRefusedAndSpoilsNothing() throws InterruptedException {
        int count = 1 << 16;
        try (var device = Device.cpu(); var mine = device.zeros(DType.F32, count); var theirs = device.zeros(DType.F32, 16)) {
            var done = new CountDownLatch(1);
            var served = new AtomicInteger();
            var refused = new AtomicInteger();
            var surprise = new AtomicReference<Throwable>();
            var other = new Thread(() -> {
                while (done.getCount() > 0) {
                    try {
                        device.ops().fill(theirs, 16, 7);
                        theirs.upload(new float[16]);
                        served.incrementAndGet();
                    } catch (NativeException e) {
                        if (e.status() == Status.BUSY) {
                            refused.incrementAndGet();
                        } else {
                            surprise.set(e);
                        }
                    } catch (RuntimeException e) {
                        surprise.set(e);
                    }
                }
            }, "other");
            other.start();
            float value = 0;
            for (int i = 0; i < 2_000 || (refused.get() == 0 || served.get() == 0) && i < 200_000; i++) {
                try {
                    device.ops().fill(mine, count, i);
                    value = i;
                } catch (NativeException e) {
                    assertThat(e.status()).isEqualTo(Status.BUSY);
                    assertThat(e).hasMessageContaining("one thread at a time");
                }
            }
            done.countDown();
            other.join();

            assertThat(surprise.get()).isNull();
            assertThat(refused.get()).isPositive();
            assertThat(served.get()).isPositive();
            assertThat(mine.toFloats()).containsOnly(value);
        }
    }

    @Test
    void threadsMayTakeTurns() throws InterruptedException {
        try (var device = Device.cpu(); var tensor = device.zeros(DType.F32, 4)) {
            var thread = new Thread(() -> device.ops().fill(tensor, 4, 3));
            thread.start();
            thread.join();
            assertThat(tensor.toFloats()).containsOnly(3f);
        }
    }

    @Test
    void whatIsClosedSaysSo() {
        var device = Device.cpu();
        var tensor = device.zeros(DType.F32, 4);
        var view = tensor.view(1, 2);
        var weight = device.freeze(HostTensor.of("w", new float[6], 2, 3), DType.F32);
        weight.close();
        assertThatThrownBy(() -> device.ops().embedding(weight, null, null, 1)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        tensor.close();
        tensor.close();
        assertThatThrownBy(tensor::toFloats).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
        assertThatThrownBy(() -> device.ops().fill(view, 2, 0)).isInstanceOf(IllegalStateException.class);

        var left = device.zeros(DType.F32, 4);
        device.close();
        device.close();
        left.close();
        weight.close();
        assertThatThrownBy(left::toFloats).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> device.zeros(DType.F32, 1)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
    }

    @Test
    void tensorsTooSmallAreNamed() {
        try (var device = Device.cpu(); var small = device.zeros(DType.F32, 4); var other = Device.cpu();
             var foreign = other.zeros(DType.F32, 8)) {
            assertThatThrownBy(() -> device.ops().fill(small, 5, 0)).hasMessageContaining("values");
            assertThatThrownBy(() -> device.ops().fill(foreign, 8, 0)).hasMessageContaining("values");
            assertThatThrownBy(() -> small.view(2, 3)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }
}
