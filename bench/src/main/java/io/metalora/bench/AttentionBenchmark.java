package io.metalora.bench;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionInput;
import io.metalora.runtime.op.AttentionOutput;
import io.metalora.runtime.op.AttentionShape;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.Sequences;
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

/** Causal grouped-query attention over packed sequences, forward and backward; SmolLM2-135M's heads. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 3, time = 2)
@Fork(1)
public class AttentionBenchmark {
    private static final AttentionShape SHAPE = new AttentionShape(9, 3, 64, 0, 0.125f);

    @Param({"16x64", "2x512"})
    public String sequencesByLength;

    private Device device;
    private Ops ops;
    private Tensor q;
    private Tensor k;
    private Tensor v;
    private Tensor o;
    private Tensor lse;
    private Tensor dO;
    private Tensor dq;
    private Tensor dk;
    private Tensor dv;
    private Tensor offsets;
    private AttentionInput in;
    private AttentionOutput out;
    private AttentionInput gradients;
    private Sequences pack;

    @Setup(Level.Trial)
    public void open() {
        int sequences = Integer.parseInt(sequencesByLength.substring(0, sequencesByLength.indexOf('x')));
        int length = Integer.parseInt(sequencesByLength.substring(sequencesByLength.indexOf('x') + 1));
        int tokens = sequences * length;
        device = Device.cpu();
        ops = Ops.of(device);
        int width = SHAPE.heads() * SHAPE.headDim();
        int kvWidth = SHAPE.kvHeads() * SHAPE.headDim();
        q = Values.tensor(device, 1, 1f, tokens, width);
        k = Values.tensor(device, 2, 1f, tokens, kvWidth);
        v = Values.tensor(device, 3, 1f, tokens, kvWidth);
        dO = Values.tensor(device, 4, 1f, tokens, width);
        o = device.zeros(DType.F32, tokens, width);
        lse = device.zeros(DType.F32, tokens, SHAPE.heads());
        dq = device.zeros(DType.F32, tokens, width);
        dk = device.zeros(DType.F32, tokens, kvWidth);
        dv = device.zeros(DType.F32, tokens, kvWidth);
        offsets = device.zeros(DType.I32, sequences + 1);
        int[] starts = new int[sequences + 1];
        for (int i = 0; i <= sequences; i++) {
            starts[i] = i * length;
        }
        offsets.upload(starts, starts.length);
        in = new AttentionInput(q, k, v);
        out = new AttentionOutput(o, lse);
        gradients = new AttentionInput(dq, dk, dv);
        pack = new Sequences(offsets, sequences, tokens, length);
        forward();
    }

    @Benchmark
    public void forward() {
        ops.attention(SHAPE, in, out, pack, null);
        device.synchronize();
    }

    @Benchmark
    public void backward() {
        ops.attentionBackward(SHAPE, in, out, dO, gradients, pack);
        device.synchronize();
    }

    @TearDown(Level.Trial)
    public void close() {
        for (Tensor tensor : new Tensor[] {q, k, v, o, lse, dO, dq, dk, dv, offsets}) {
            tensor.close();
        }
        device.close();
    }
}
