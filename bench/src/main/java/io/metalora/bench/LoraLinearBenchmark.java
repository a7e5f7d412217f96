package io.metalora.bench;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.DeviceAccess;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.LoraTerm;
import io.metalora.runtime.op.Ops;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * The LoRA linear, forward and backward, beside the frozen GEMM alone: what the low-rank path costs on top. The
 * weights rotate over enough copies to be out of the last cache, as they are in a pass over a whole model.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 3, time = 2)
@Fork(1)
public class LoraLinearBenchmark {
    private static final long CACHE = 96L << 20;

    @Param({"576x576", "576x1536", "1536x576"})
    public String inByOut;

    @Param({"256"})
    public int tokens;

    @Param({"8"})
    public int rank;

    @Param({"1", "4"})
    public int slots;

    @Param({"F32", "BF16"})
    public DType storage;

    private Device device;
    private Ops ops;
    private FrozenWeight[] weights;
    private int next;
    private Tensor x;
    private Tensor y;
    private Tensor dx;
    private Tensor parameters;
    private Tensor gradients;
    private Tensor h;
    private Tensor slotOffsets;
    private LoraTerm lora;

    @Setup(Level.Trial)
    public void open() {
        int in = Integer.parseInt(inByOut.substring(0, inByOut.indexOf('x')));
        int out = Integer.parseInt(inByOut.substring(inByOut.indexOf('x') + 1));
        device = Device.cpu();
        ops = Ops.of(device);
        long copies = Math.max(2, CACHE / DeviceAccess.get().frozenBytes(device, storage, out, in, 0));
        weights = new FrozenWeight[(int) copies];
        for (int i = 0; i < weights.length; i++) {
            weights[i] = DeviceAccess.get().freeze(device, List.of(HostTensor.of("w" + i, Values.random(i, out * in, 0.05f), out, in)), storage, 0);
        }
        x = Values.tensor(device, 1, 1f, tokens, in);
        y = Values.tensor(device, 2, 1f, tokens, out);
        dx = device.zeros(DType.F32, tokens, in);
        long stride = (long) rank * (in + out);
        parameters = Values.tensor(device, 3, 0.05f, slots, stride);
        gradients = device.zeros(DType.F32, slots, stride);
        h = device.zeros(DType.F32, tokens, rank);
        slotOffsets = device.zeros(DType.I32, slots + 1);
        int[] offsets = new int[slots + 1];
        for (int i = 0; i <= slots; i++) {
            offsets[i] = tokens * i / slots;
        }
        slotOffsets.upload(offsets, offsets.length);
        lora = new LoraTerm(
                rank, 2f, List.of(new LoraTerm.Part(0, (long) rank * in, 0, out, 0)), h, slotOffsets);
        lora.bind(parameters, gradients, slots, stride);
    }

    private FrozenWeight weight() {
        next = next + 1 == weights.length ? 0 : next + 1;
        return weights[next];
    }

    @Benchmark
    public void frozenForward() {
        ops.linear(LoraLinear.frozen(weight()), x, null, y, tokens);
        device.synchronize();
    }

    @Benchmark
    public void loraForward() {
        ops.linear(new LoraLinear(weight(), null, lora), x, null, y, tokens);
        device.synchronize();
    }

    @Benchmark
    public void frozenBackward() {
        ops.linearBackward(LoraLinear.frozen(weight()), null, y, dx, false, tokens);
        device.synchronize();
    }

    @Benchmark
    public void loraBackward() {
        ops.linearBackward(new LoraLinear(weight(), null, lora), x, y, dx, false, tokens);
        device.synchronize();
    }

    @TearDown(Level.Trial)
    public void close() {
        for (FrozenWeight weight : weights) {
            weight.close();
        }
        for (Tensor tensor : new Tensor[] {x, y, dx, parameters, gradients, h, slotOffsets}) {
            tensor.close();
        }
        device.close();
    }
}
