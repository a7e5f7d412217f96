package io.metalora.bench;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Device;
import io.metalora.train.IterationReport;
import io.metalora.train.Trainer;
import java.nio.file.Path;
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
 * One training step of joint LoRA (4 sequences of 64 tokens) and one MeTA-LoRA iteration (4 tasks, 3 inner steps, 4
 * sequences of 64 tokens of support and of query a task). {@code -p model=DIR} names any Hugging Face folder; the default is
 * there when run from the repository's root.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2)
@Measurement(iterations = 5)
@Fork(1)
public class TrainingBenchmark {
    @Param({"models/tiny"})
    public String model;

    private Device device;
    private CausalLM base;
    private LoraAdapter adapter;
    private Trainer step;
    private Trainer iteration;

    @Setup(Level.Trial)
    public void open() {
        device = Device.cpu();
        base = CausalLM.load(Path.of(model), device, LoadOptions.defaults());
        adapter = Workload.adapter(base, 8, 16, List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"));
        var tasks = Workload.random(1, base.config().vocabSize(), 4, 8, 64);
        step = Workload.trainingStep(base, adapter, tasks, 4);
        iteration = Workload.metaIteration(base, adapter, tasks, 4, 4, 3);
    }

    @Benchmark
    public IterationReport trainingStep() {
        return step.iterate();
    }

    @Benchmark
    public IterationReport metaIteration() {
        return iteration.iterate();
    }

    @TearDown(Level.Trial)
    public void close() {
        iteration.close();
        step.close();
        adapter.close();
        base.close();
        device.close();
    }
}
