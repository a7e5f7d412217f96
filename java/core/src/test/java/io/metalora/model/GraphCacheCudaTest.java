package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Graph;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.DeviceAccess;
import io.metalora.runtime.op.Ops;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Ops whose recording is refused run as they are. */
@Tag("cuda")
class GraphCacheCudaTest {
    private Device device;
    private Tensor values;
    private GraphCache<Integer> cache;
    private Status refusal; // of the next recordings; null: none
    private int tried;

    @BeforeEach
    void open() {
        device = CudaDevice.open(DType.F32);
        values = device.zeros(DType.F32, 1);
        cache = new GraphCache<>(this::record);
    }

    @AfterEach
    void close() {
        if (device != null) {
            device.close();
        }
    }

    private Graph record(Runnable ops) {
        tried++;
        if (refusal != null) {
            throw new NativeException(refusal, "on purpose");
        }
        return DeviceAccess.get().record(device, ops);
    }

    /** Fills with the key. */
    private void run(int key) {
        Ops.of(device).fill(values, 1, -1);
        cache.run(key, () -> Ops.of(device).fill(values, 1, key));
        assertThat(values.toFloats()).containsExactly(key);
    }

    @Test
    void theSecondRunIsRecordedAndReplayed() {
        for (int i = 0; i < 4; i++) {
            run(1);
            assertThat(cache.replayed()).isEqualTo(i);
        }
        assertThat(tried).isEqualTo(1);
    }

    @Test
    void withoutMemoryForAGraphTheOthersGoAndTheOpsRun() {
        run(1);
        run(1);
        run(2);
        assertThat(cache.recorded()).isEqualTo(1);
        refusal = Status.OUT_OF_MEMORY;
        run(2);
        assertThat(cache.recorded()).isZero();
        refusal = null;
        run(2);
        run(1);
        assertThat(cache.recorded()).isEqualTo(2);
        assertThat(cache.replayed()).isEqualTo(3);
    }

    @Test
    void whatIsRefusedAgainAndAgainIsNotTriedForGood() {
        refusal = Status.INVALID_ARGUMENT;
        for (int i = 0; i < 10; i++) {
            run(1);
        }
        assertThat(tried).isEqualTo(3);
        refusal = Status.INTERNAL;
        run(2);
        assertThatThrownBy(() -> run(2)).hasMessageContaining("on purpose");
    }

    @Test
    void oneStaleGraphTellsOfTheOthers() {
        for (int key = 1; key <= 3; key++) {
            run(key);
            run(key);
        }
        assertThat(cache.recorded()).isEqualTo(3);
        device.zeros(DType.F32, 1).close();
        run(2);
        assertThat(cache.recorded()).isZero();
    }
}
