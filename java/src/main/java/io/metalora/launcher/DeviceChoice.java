package io.metalora.launcher;

import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import picocli.CommandLine.Option;

/** Options that choose where a verb computes. */
final class DeviceChoice {

    @Option(names = "--device", paramLabel = "auto|cpu|cuda", defaultValue = "auto",
            description = "Where to compute (default: ${DEFAULT-VALUE}, which takes a GPU if one can be used).")
    private Backend backend;

    @Option(names = "--threads", paramLabel = "N", defaultValue = "0",
            description = "CPU threads (default: one for each core). The same number gives the same bits.")
    private int threads;

    DeviceOptions options() {
        return new DeviceOptions(backend, threads);
    }

    Device open() {
        return Device.open(options());
    }
}
