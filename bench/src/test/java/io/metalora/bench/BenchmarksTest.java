package io.metalora.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Collection;
import org.junit.jupiter.api.Test;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Every benchmark runs; what it measures here says nothing. */
class BenchmarksTest {

    @Test
    void everyBenchmarkRuns() throws RunnerException {
        Path root = Path.of(System.getProperty("basedir", ".")).toAbsolutePath().normalize().getParent();
        var options = new OptionsBuilder().include("io\\.metalora\\.bench\\..*").forks(0).warmupIterations(0)
                .measurementIterations(1).measurementTime(TimeValue.milliseconds(1)).shouldFailOnError(true)
                .verbosity(VerboseMode.SILENT).param("model", root.resolve("models/tiny").toString())
                .param("inByOut", "64x32").param("tokens", "8").param("rank", "3").param("slots", "2").param("sequencesByLength", "2x8")
                .build();
        Collection<RunResult> results = new Runner(options).run();

        assertThat(results.stream().map(r -> r.getParams().getBenchmark().replace("io.metalora.bench.", "")).distinct())
                .containsExactlyInAnyOrder("LoraLinearBenchmark.frozenForward", "LoraLinearBenchmark.loraForward",
                        "LoraLinearBenchmark.frozenBackward", "LoraLinearBenchmark.loraBackward", "AttentionBenchmark.forward",
                        "AttentionBenchmark.backward", "CallOverheadBenchmark.crossing", "CallOverheadBenchmark.fillOneElement",
                        "CallOverheadBenchmark.rmsnormOneElement", "TrainingBenchmark.trainingStep", "TrainingBenchmark.metaIteration");
        assertThat(results).allSatisfy(r -> assertThat(r.getPrimaryResult().getScore()).isPositive());
    }
}
