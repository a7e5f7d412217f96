package io.metalora.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.runtime.op.Ops;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Ops that are recorded or planned: whose they are, and what a failure leaves. */
@Tag("cuda")
class GraphCudaTest {
    private Device device;
    private Tensor mine;
    private Tensor theirs;

    @BeforeEach
    void open() {
        device = CudaDevice.open(DType.F32);
        mine = device.zeros(DType.F32, 4);
        theirs = device.zeros(DType.F32, 4);
    }

    @AfterEach
    void close() {
        if (device != null) {
            device.close();
        }
    }

    private void fill(Tensor tensor, float value) {
        Ops.of(device).fill(tensor, 4, value);
    }

    private static Status statusOf(Runnable call) {
        var status = new AtomicReference<>(Status.OK);
        var thread = new Thread(() -> {
            try {
                call.run();
            } catch (NativeException e) {
                status.set(e.status());
            }
        });
        thread.start();
        try {
            thread.join();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
        return status.get();
    }

    @Test
    void theDeviceTellsWhatItCanDo() {
        assertThat(device.canRecord()).isTrue();
        assertThat(device.gainsByStacking()).isTrue();
        assertThat(device.hasOwnMemory()).isTrue();
        assertThat(device.gainsByAdapterRoom()).isFalse(); // with activations in F32
        try (var bf16 = CudaDevice.open(DType.BF16)) {
            assertThat(bf16.gainsByAdapterRoom()).isTrue();
        }
    }

    @Test
    void anotherThreadIsRefusedInBetween() {
        Consumer<Runnable> refused = call -> assertThat(statusOf(call)).isEqualTo(Status.BUSY);
        device.plan(() -> refused.accept(() -> fill(theirs, 9)));
        try (var graph = device.record(() -> {
            fill(mine, 2);
            refused.accept(() -> fill(theirs, 9));
            refused.accept(() -> theirs.upload(new float[4]));
            fill(mine, 3);
        })) {
            assertThat(statusOf(() -> fill(theirs, 5))).isEqualTo(Status.OK);
            assertThat(graph.launch()).isTrue();
        }
        assertThat(mine.toFloats()).containsOnly(3);
        assertThat(theirs.toFloats()).containsOnly(5);
    }

    @Test
    void whatFailsInBetweenLeavesTheDeviceUsable() {
        var failure = new IllegalStateException("of the ops");
        for (int i = 0; i < 2; i++) {
            boolean plans = i == 0;
            Runnable ops = () -> {
                fill(mine, 2);
                throw failure;
            };
            assertThatThrownBy(() -> {
                if (plans) {
                    device.plan(ops);
                } else {
                    device.record(ops).close();
                }
            }).isSameAs(failure);
            assertThat(statusOf(() -> fill(theirs, 1))).isEqualTo(Status.OK);
            assertThat(mine.toFloats()).containsOnly(0);
        }
    }

    @Test
    void aLaunchInBetweenIsAnErrorAndNoStaleGraph() {
        try (var graph = device.record(() -> fill(mine, 2))) {
            assertThatThrownBy(() -> device.plan(graph::launch)).hasMessageContaining("being planned");
            assertThat(graph.launch()).isTrue();
            device.zeros(DType.F32, 1).close();
            assertThat(graph.launch()).isFalse();
        }
    }
}
