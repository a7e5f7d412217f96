package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.launcher.QuickstartPlan.Arm;
import io.metalora.launcher.QuickstartPlan.NewTasks;
import io.metalora.launcher.QuickstartPlan.Setting;
import io.metalora.launcher.synthetic.SyntheticTasks;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** {@code quickstart} on CUDA, with two tasks and arms of a few iterations, against the same on the CPU. */
@Tag("cuda")
class QuickstartCudaTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int LINES = 8; // of every file

    private static final QuickstartPlan PLAN = new QuickstartPlan(
            List.of(new Setting("two", "a task of closed labels and one of open answers", QuickstartCudaTest::writeTasks)),
            cut(QuickstartPlan.DEFAULT.jointFew(), "joint.epochs=1"),
            cut(QuickstartPlan.DEFAULT.jointAll(), "joint.epochs=1", "joint.batch_size=8"),
            cut(QuickstartPlan.DEFAULT.metaFew(), "meta.tasks_per_iteration=2", "meta.query_size=4"),
            cut(QuickstartPlan.DEFAULT.newTasks()));

    @TempDir
    private Path folder;

    private static Arm cut(Arm arm, String... settings) {
        var all = new ArrayList<>(arm.settings());
        all.addAll(List.of(settings)); // the later of two counts
        // AdamW's first steps are signs of gradients, some of which rounding decides: small ones leave the losses alike.
        all.addAll(List.of("data.samples_per_task=" + LINES, "optimizer.lr=5e-4"));
        return new Arm(arm.name(), arm.label(), Math.min(1, arm.iterationsPerTask()), all);
    }

    private static NewTasks cut(NewTasks plan) {
        return new NewTasks(plan.name(), plan.title(), QuickstartCudaTest::writeTasks, QuickstartCudaTest::writeTasks, cut(plan.joint(), "joint.epochs=1"),
                cut(plan.meta(), "meta.tasks_per_iteration=2", "meta.support_size=2", "meta.query_size=2", "meta.inner_steps=1"), List.of(2), 1,
                plan.batchSize(), plan.optimizer());
    }

    private static void writeTasks(long seed, Path folder) throws IOException {
        Path whole = folder.resolveSibling("whole");
        SyntheticTasks.multiTask(seed).writeTo(whole);
        for (String task : List.of("verdict", "delivery")) {
            Files.createDirectories(folder.resolve(task));
            for (String split : List.of("train.jsonl", "dev.jsonl", "test.jsonl")) {
                var lines = Files.readAllLines(whole.resolve(task).resolve(split));
                Files.write(folder.resolve(task).resolve(split), lines.subList(0, LINES));
            }
        }
    }

    private Path run(String device) {
        Path run = folder.resolve(device);
        var out = new StringWriter();
        int code = new CommandLine(new QuickstartCommand(PLAN)).setCaseInsensitiveEnumValuesAllowed(true)
                .setOut(new PrintWriter(out)).execute("--output", run.toString(), "--device", device);
        assertThat(code).as(out.toString()).isZero();
        return run;
    }

    private static List<Double> losses(Path run, Arm arm) throws IOException {
        var losses = new ArrayList<Double>();
        for (String line : Files.readAllLines(run.resolve("two").resolve(arm.name()).resolve("metrics.jsonl"))) {
            losses.add(JSON.readTree(line).get("loss").asDouble());
        }
        return losses;
    }

    @Test
    void agreesWithTheCpu() throws IOException {
        String name;
        try (var device = CudaDevice.open(DType.BF16)) {
            name = device.info().deviceName();
        }
        Path cpu = run("cpu");
        Path cuda = run("auto");
        assertThat(Files.readString(cuda.resolve("report.html"))).contains(name);
        assertThat(Files.readString(cpu.resolve("report.html"))).doesNotContain(name);
        for (Arm arm : PLAN.arms()) {
            var expected = losses(cpu, arm);
            var losses = losses(cuda, arm);
            assertThat(losses).hasSameSizeAs(expected).isNotEmpty();
            for (int i = 0; i < losses.size(); i++) {
                double on = expected.get(i);
                assertThat(losses.get(i)).as(arm.name()).isCloseTo(on, within(2e-2 * on)); // bf16
            }
        }
        var expected = JSON.readTree(cpu.resolve("results.json").toFile()).at("/0/arms");
        var arms = JSON.readTree(cuda.resolve("results.json").toFile()).at("/0/arms");
        assertThat(arms).hasSize(5);
        for (int i = 0; i < arms.size(); i++) {
            double mean = expected.get(i).get("mean_accuracy").asDouble();
            assertThat(mean).isBetween(0.1, 0.9); // one task has two labels
            assertThat(arms.get(i).get("mean_accuracy").asDouble()).as(arms.get(i).get("arm").asText())
                    .isCloseTo(mean, within(1.0 / LINES)); // two of all answers
        }
    }
}
