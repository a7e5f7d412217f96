package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import io.metalora.model.ModelFingerprint;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class RunStartTest {

    /** A run on a loaded model computes as the device was opened, whatever its config says. */
    @ParameterizedTest
    @EnumSource(Arithmetic.class)
    void theArithmeticIsTheDevices(Arithmetic arithmetic) {
        try (var device = Device.open(new DeviceOptions(Backend.CPU, 1).withArithmetic(arithmetic))) {
            var start = RunStart.of(new ModelFingerprint(Map.of()), TrainConfig.DEFAULTS, device);
            assertThat(start.compute()).containsEntry("arithmetic", arithmetic == Arithmetic.BF16 ? "bf16" : "fp32");
        }
    }
}
