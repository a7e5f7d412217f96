package io.metalora.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.runtime.op.GateUp;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.LoraTerm;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.RmsNorm;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A device in the hands of several threads, and after it was closed. */
class DeviceTest {

    @Test
    @Timeout(60)
    void threadsThatWaitForEachOtherAreAllServed() throws Exception {
        int threads = 4;
        int calls = 500;
        try (var device = Device.open(new DeviceOptions(Backend.CPU, 1).withWhenBusy(WhenBusy.WAIT));
                var pool = Executors.newFixedThreadPool(threads)) {
            var all = new ArrayList<Future<float[]>>();
            for (int t = 0; t < threads; t++) {
                int number = t;
                all.add(pool.submit(() -> {
                    try (var mine = device.zeros(DType.F32, 4096)) {
                        for (int i = 0; i < calls; i++) {
                            mine.upload(new float[4096]);
                            Ops.of(device).fill(mine, 4096, number * calls + i);
                        }
                        return mine.toFloats();
                    }
                }));
            }
            for (int t = 0; t < threads; t++) {
                assertThat(all.get(t).get()).containsOnly(t * calls + calls - 1);
            }
        }
    }

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
                        Ops.of(device).fill(theirs, 16, 7);
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
                    Ops.of(device).fill(mine, count, i);
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

    @ParameterizedTest
    @EnumSource(value = InstructionSet.class, mode = EnumSource.Mode.EXCLUDE, names = "AUTO")
    void aForcedInstructionSetIsTakenOrRefused(InstructionSet isa) {
        try (var device = Device.open(new DeviceOptions(Backend.CPU, 1, isa))) {
            assertThat(device.info().isa()).isEqualToIgnoringCase(isa.name());
            assertThat(device.info().isaReason()).isEqualTo("it was asked for");
        } catch (InputException e) {
            assertThat(isa).as("runs on every processor").isNotEqualTo(InstructionSet.PORTABLE);
            assertThat(e).hasMessageContaining(isa.name().toLowerCase(Locale.ROOT)).hasMessageContaining("lacks");
        }
    }

    @Test
    void theInstructionSetTakenByItselfHasAReason() {
        try (var device = Device.open(new DeviceOptions(Backend.CPU, 1))) {
            assertThat(device.info().isaReason()).isNotBlank().isNotEqualTo("it was asked for");
        }
    }

    @Test
    void threadsMayTakeTurns() throws InterruptedException {
        try (var device = Device.cpu(); var tensor = device.zeros(DType.F32, 4)) {
            var thread = new Thread(() -> Ops.of(device).fill(tensor, 4, 3));
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
        var weight = device.freeze(List.of(HostTensor.of("w", new float[6], 2, 3)), DType.F32, 0);
        weight.close();
        assertThatThrownBy(() -> Ops.of(device).embedding(weight, null, null, 1)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        tensor.close();
        tensor.close();
        assertThatThrownBy(tensor::toFloats).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
        assertThatThrownBy(() -> Ops.of(device).fill(view, 2, 0)).isInstanceOf(IllegalStateException.class);

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
    void threadsThatCloseADeviceAtOnceDestroyItOnce() throws InterruptedException {
        for (int round = 0; round < 200; round++) {
            var device = Device.open(new DeviceOptions(Backend.CPU, 1));
            var tensors = new ArrayList<Tensor>();
            for (int i = 0; i < 20; i++) {
                tensors.add(device.zeros(DType.F32, 64));
            }
            var failures = new ConcurrentLinkedQueue<Throwable>();
            var ready = new CyclicBarrier(4);
            var threads = new ArrayList<Thread>();
            for (int i = 0; i < 4; i++) {
                threads.add(Thread.ofPlatform().uncaughtExceptionHandler((thread, e) -> failures.add(e)).start(() -> {
                    try {
                        ready.await();
                    } catch (InterruptedException | BrokenBarrierException e) {
                        throw new IllegalStateException(e);
                    }
                    device.close();
                    if (!device.isClosed()) {
                        throw new IllegalStateException("not closed on return");
                    }
                }));
            }
            for (var thread : threads) {
                thread.join();
            }
            assertThat(failures).isEmpty();
            tensors.forEach(Tensor::close);
        }
    }

    @Test
    void aDeviceInUseIsNotClosedAndIsAsItWas() throws InterruptedException {
        try (var device = Device.cpu(); var tensor = device.zeros(DType.F32, 4)) {
            var failure = new AtomicReference<Throwable>();
            try (var _ = device.turn()) {
                var other = Thread.ofPlatform().uncaughtExceptionHandler((thread, e) -> failure.set(e)).start(device::close);
                other.join();
            }
            assertThat(failure.get()).isInstanceOfSatisfying(NativeException.class, e -> assertThat(e.status()).isEqualTo(Status.BUSY));
            Ops.of(device).fill(tensor, 4, 3);
            assertThat(tensor.toFloats()).containsOnly(3f);
        }
    }

    @Test
    void asManyThreadsAsTheLibraryTakes() {
        try (var device = Device.open(new DeviceOptions(Backend.CPU, DeviceOptions.MAX_THREADS)); var tensor = device.zeros(DType.F32, 1 << 20)) {
            assertThat(device.info().threads()).isEqualTo(DeviceOptions.MAX_THREADS);
            Ops.of(device).fill(tensor, 1 << 20, 3);
            assertThat(tensor.toFloats()).containsOnly(3f);
        }
        assertThatThrownBy(() -> new DeviceOptions(Backend.CPU, DeviceOptions.MAX_THREADS + 1)).isInstanceOf(InputException.class)
                .hasMessageContaining("threads is 1025").hasMessageContaining("1 to 1024");
    }

    @Test
    void theCpuHasNoneOfTheCapabilities() {
        try (var device = Device.cpu()) {
            assertThat(device.canRecord()).isFalse();
            assertThat(device.gainsByStacking()).isFalse();
            assertThat(device.gainsByAdapterRoom()).isFalse();
            assertThat(device.hasOwnMemory()).isFalse();
            assertThat(device.plan(() -> { throw new AssertionError("an op that is not to be called"); })).isZero();
        }
    }

    @Test
    void tensorsTooSmallAreNamed() {
        try (var device = Device.cpu(); var small = device.zeros(DType.F32, 4); var other = Device.cpu();
             var foreign = other.zeros(DType.F32, 8)) {
            assertThatThrownBy(() -> Ops.of(device).fill(small, 5, 0)).hasMessageContaining("values");
            assertThatThrownBy(() -> Ops.of(device).fill(foreign, 8, 0)).hasMessageContaining("values");
            assertThatThrownBy(() -> small.view(2, 3)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @Test
    void aPlannedTensorIsDividedBeforeItHasMemory() {
        try (var device = Device.cpu()) {
            long held = device.info().memoryInUse();
            var planned = device.planned(DType.F32, 2, 4);
            var right = planned.columns(2, 2);
            var last = planned.view(4, 4);
            assertThat(planned.elements()).isEqualTo(8);
            assertThat(device.info().memoryInUse()).isEqualTo(held);
            assertThatThrownBy(() -> Ops.of(device).fill(last, 4, 1)).isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("no memory yet");
            assertThatThrownBy(() -> planned.upload(new float[8])).hasMessageContaining("no memory yet");

            planned.allocate();
            assertThat(planned.toFloats()).containsOnly(0);
            Ops.of(device).fill(last, 4, 1);
            right.copyRows(device.zeros(DType.F32, 1, 2), 0, 1, 1);
            assertThat(planned.toFloats()).containsExactly(0, 0, 0, 0, 1, 1, 0, 0);
            assertThatThrownBy(planned::allocate).isInstanceOf(IllegalStateException.class).hasMessageContaining("has its memory");
            assertThatThrownBy(last::allocate).isInstanceOf(IllegalStateException.class).hasMessageContaining("view");

            planned.close();
            assertThatThrownBy(() -> Ops.of(device).fill(last, 4, 1)).hasMessageContaining("closed");
            var never = device.planned(DType.F32, 3);
            never.close();
            never.close();
            assertThatThrownBy(never::allocate).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
        }
    }

    @Test
    void columnsAreRowsApart() {
        try (var device = Device.cpu();
                var matrix = device.zeros(DType.F32, 3, 8);
                var dense = device.zeros(DType.F32, 3, 2);
                var weight = device.zeros(DType.F32, 8)) {
            var values = new float[24];
            for (int i = 0; i < values.length; i++) {
                values[i] = i;
            }
            matrix.upload(values);
            var columns = matrix.columns(2, 4).columns(1, 2);
            dense.copyRows(columns, 0, 0, 3);
            assertThat(dense.toFloats()).containsExactly(3, 4, 11, 12, 19, 20);
            dense.copyRows(columns, 0, 1, 2);
            assertThat(dense.toFloats()).containsExactly(3, 4, 3, 4, 11, 12);
            dense.copyRows(columns, 2, 1, 1);
            assertThat(dense.toFloats()).containsExactly(3, 4, 19, 20, 11, 12);
            assertThat(matrix.columns(0, 8)).isSameAs(matrix);

            assertThatThrownBy(columns::toFloats).hasMessageContaining("not one piece");
            assertThatThrownBy(() -> columns.view(0, 1)).hasMessageContaining("not one piece");
            assertThatThrownBy(() -> matrix.columns(7, 2)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> dense.copyRows(columns, 0, 1, 3)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> dense.copyRows(columns, 2, 0, 2)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> dense.copyRows(matrix, 0, 0, 1)).hasMessageContaining("cannot copy rows").hasMessageContaining("width");
            assertThatThrownBy(() -> matrix.copyRows(matrix, 0, 1, 2)).hasMessageContaining("overlap");
            assertThatThrownBy(() -> columns.copyRows(columns, 0, 1, 2)).hasMessageContaining("overlap");
            matrix.copyRows(matrix, 0, 2, 1);
            assertThat(dense.view(0, 1).toFloats()).containsExactly(3);
            // Where an op needs a dense tensor, or rows of another width, it says which one is wrong.
            var ops = Ops.of(device);
            assertThatThrownBy(() -> ops.rmsnorm(new RmsNorm(weight, 2, 1e-5f), columns, dense, null, 3)).hasMessageContaining("x is columns");
            assertThatThrownBy(() -> ops.rmsnorm(new RmsNorm(weight, 3, 1e-5f), dense, columns, null, 2)).hasMessageContaining("y is F32[3, 2]");
            assertThatThrownBy(() -> ops.swiglu(new GateUp(columns, dense, 2), dense, 3)).hasMessageContaining("up and gate lie differently");
        }
    }

    @Test
    void swigluBackwardKnowsNothingOfTheForwardBefore() {
        try (var device = Device.cpu(); var gate = device.zeros(DType.F32, 1, 4); var up = device.zeros(DType.F32, 1, 4);
                var y = device.zeros(DType.F32, 1, 4); var narrow = device.zeros(DType.F32, 1, 2)) {
            gate.upload(new float[] {1, 2, 3, 4});
            up.upload(new float[] {2, 2, 2, 2});
            y.upload(new float[] {1, 1, 1, 1});
            var ops = Ops.of(device);
            ops.swiglu(new GateUp(narrow, narrow, 2), narrow, 1);
            ops.swigluBackward(new GateUp(gate, up, 4), y, new GateUp(gate, up, 4), 1);
            assertThat(up.toFloats()[3]).isEqualTo((float) (4 / (1 + Math.exp(-4))), Offset.offset(1e-5f)); // silu(4)
        }
    }

    @Test
    void partsOfATermAreFewAndInOrder() {
        try (var device = Device.cpu(); var h = device.zeros(DType.F32, 1, 2); var offsets = device.zeros(DType.I32, 2)) {
            var first = new LoraTerm.Part(0, 4, 0, 4, 0);
            var second = new LoraTerm.Part(8, 12, 4, 4, 1);
            new LoraTerm(1, 1, List.of(first, second), h, offsets);
            assertThatThrownBy(() -> new LoraTerm(1, 1, List.of(), h, offsets)).hasMessageContaining("0 parts");
            assertThatThrownBy(() -> new LoraTerm(1, 1, List.of(first, second, second, second), h, offsets))
                    .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("4 parts");
            assertThatThrownBy(() -> new LoraTerm(1, 1, List.of(second, first), h, offsets)).hasMessageContaining("order");
        }
    }

    @Test
    void matricesOfOneInputAreOneWeight() {
        try (var device = Device.cpu(); var x = device.zeros(DType.F32, 1, 2); var y = device.zeros(DType.F32, 1, 3)) {
            var first = HostTensor.of("first", new float[] {1, 2}, 1, 2);
            var second = HostTensor.of("second", new float[] {3, 4, 5, 6}, 2, 2);
            x.upload(new float[] {1, 10});
            try (var both = device.freeze(List.of(first, second), DType.F32, 0)) {
                Ops.of(device).linear(LoraLinear.frozen(both), x, null, y, 1);
            }
            assertThat(y.toFloats()).containsExactly(21, 43, 65);
            try (var one = device.freeze(List.of(second), DType.F32, 0)) {
                assertThatThrownBy(() -> Ops.of(device).linear(LoraLinear.frozen(one), x, null, null, 1)).hasMessageContaining("y is missing");
            }
            assertThat(device.frozenBytes(DType.F32, 3, 2, 0)).isPositive();
            assertThatThrownBy(() -> device.frozenBytes(DType.F16, 3, 2, 0)).hasMessageContaining("storage_dtype");
            var wider = HostTensor.of("wider", new float[3], 1, 3);
            assertThatThrownBy(() -> device.freeze(List.of(first, wider), DType.F32, 0)).hasMessageContaining("wider");
        }
    }
}
