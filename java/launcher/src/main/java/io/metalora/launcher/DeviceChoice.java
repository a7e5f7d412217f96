package io.metalora.launcher;

import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InstructionSet;
import java.util.Locale;
import picocli.CommandLine.Option;

/** Options that choose where a verb computes. */
final class DeviceChoice {

    @Option(names = "--device", paramLabel = "auto|cpu|cuda", defaultValue = "auto",
            description = "Where to compute (default: ${DEFAULT-VALUE}, which takes a GPU if one can be used).")
    private Backend backend;

    @Option(names = "--threads", paramLabel = "N", defaultValue = "0",
            description = "CPU threads (default: one for each core). The same number gives the same bits.")
    private int threads;

    @Option(names = "--isa", paramLabel = "auto|portable|avx2|avx512", defaultValue = "auto",
            description = "CPU kernels (default: ${DEFAULT-VALUE}: avx512 where it was measured to be faster than avx2, else avx2 if "
                    + "the processor has it). Two sets differ by rounding.")
    private InstructionSet isa;

    @Option(names = "--arithmetic", paramLabel = "fp32|bf16", defaultValue = "fp32",
            description = "What products with frozen weights are computed in on a CPU (default: ${DEFAULT-VALUE}). bf16 is faster on "
                    + "processors with AVX512_BF16, and holds the weights in it.")
    private Arithmetic arithmetic;

    DeviceOptions options() {
        return new DeviceOptions(backend, threads, isa).withArithmetic(arithmetic);
    }

    /** The same as settings of a training. */
    String[] settings() {
        return new String[] {"compute.backend=" + backend.name().toLowerCase(Locale.ROOT), "compute.threads=" + threads,
                "compute.isa=" + isa.name().toLowerCase(Locale.ROOT),
                "compute.arithmetic=" + arithmetic.name().toLowerCase(Locale.ROOT)};
    }

    Device open() {
        return Device.open(options());
    }
}
