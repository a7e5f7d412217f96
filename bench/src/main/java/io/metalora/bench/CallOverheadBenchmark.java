package io.metalora.bench;

import io.metalora.runtime.Backend;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.RmsNorm;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What one call through Panama costs: the bare crossing, and ops on one element, with their checks and descriptor. A training
 * step of a 30-layer model makes some 1,300 calls.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 3, time = 1)
@Fork(1)
public class CallOverheadBenchmark {
    private Device device;
    private Tensor x;
    private Tensor y;
    private Tensor weight;
    private RmsNorm norm;

    @Setup(Level.Trial)
    public void open() {
        device = Device.open(new DeviceOptions(Backend.CPU, 1));
        x = Values.tensor(device, 1, 1f, 1, 1);
        y = device.zeros(DType.F32, 1, 1);
        weight = Values.tensor(device, 2, 1f, 1);
        norm = new RmsNorm(weight, 1, 1e-5f);
    }

    @Benchmark
    public void crossing() {
        device.synchronize();
    }

    @Benchmark
    public void fillOneElement() {
        Ops.of(device).fill(y, 1, 0f);
    }

    @Benchmark
    public void rmsnormOneElement() {
        Ops.of(device).rmsnorm(norm, x, y, null, 1);
    }

    @TearDown(Level.Trial)
    public void close() {
        x.close();
        y.close();
        weight.close();
        device.close();
    }
}
