package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.launcher.QuickstartPlan.Arm;
import io.metalora.launcher.QuickstartPlan.NewTasks;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The whole of quickstart on the embedded model, with arms cut short. */
class QuickstartCommandTest {

    @TempDir
    private Path folder;

    private static Arm cut(Arm arm) {
        var settings = new ArrayList<>(arm.settings());
        if (arm.iterationsPerTask() == 0) { // the later of two settings counts
            settings.addAll(List.of("data.samples_per_task=64", "joint.epochs=1", "joint.batch_size=8"));
        }
        return new Arm(arm.name(), arm.label(), Math.min(1, arm.iterationsPerTask()), settings);
    }

    static NewTasks cut(NewTasks plan) {
        return new NewTasks(plan.name(), plan.title(), plan.training(), plan.use(), cut(plan.joint()), cut(plan.meta()), List.of(4, 16), 2,
                plan.batchSize(), plan.optimizer());
    }

    @Test
    void ctrlCEndsIt() throws IOException, InterruptedException {
        Path run = folder.resolve("run");
        Process process = JavaProcess.start(folder, List.of(), "quickstart", "--output", run);
        Path metrics = run.resolve("multi-task/joint-few/metrics.jsonl");
        long end = System.nanoTime() + 60_000_000_000L;
        while (!Files.exists(metrics) && process.isAlive() && System.nanoTime() < end) {
            Thread.sleep(20);
        }
        JavaProcess.interrupt(process);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(130);
        assertThat(stopped.out()).contains("Stopped. " + run, "begins anew");
        assertThat(run.resolve("report.html")).content().contains("Not complete: it was stopped.", "Results: multi-task");
        var results = new ObjectMapper().readTree(run.resolve("results.json").toFile());
        assertThat(results).hasSize(1);
        assertThat(results.at("/0/complete").asBoolean(true)).isFalse();
        assertThat(results.at("/0/arms/0/arm").asText()).isEqualTo("base");
    }

    @Test
    void trainsComparesAndReports() throws IOException {
        var plan = QuickstartPlan.DEFAULT;
        var shortened = new QuickstartPlan(plan.settings(), cut(plan.jointFew()), cut(plan.jointAll()), cut(plan.metaFew()), cut(plan.newTasks()));
        Path run = folder.resolve("run");
        var out = new StringWriter();
        int code = new CommandLine(new QuickstartCommand(shortened)).setCaseInsensitiveEnumValuesAllowed(true)
                .setOut(new PrintWriter(out)).execute("--output", run.toString());

        assertThat(code).as(out.toString()).isZero();
        assertThat(out.toString()).contains("multi-task, accuracy on test in percent:", "multilingual, accuracy on test in percent:",
                "joint LoRA, 50", "joint LoRA, all", "MeTA-LoRA, 50: shared", "MeTA-LoRA, 50: adapted", "wish-deu", "carousel");
        assertThat(Files.readString(run.resolve("report.html"))).contains("MeTA-LoRA, 50: adapted", "Stage 1: before and after");
        assertThat(out.toString()).contains("new-tasks, mean accuracy on test in percent", "from MeTA-LoRA", "K = 16, from MeTA-LoRA against from nothing",
                "metalora adapt --model");
        assertThat(Files.readString(run.resolve("report.html"))).contains("Learning curves: new-tasks", "In words: new-tasks");
        var results = new ObjectMapper().readTree(run.resolve("results.json").toFile());
        assertThat(results).hasSize(3);
        assertThat(results.get(2).get("arms")).hasSize(9);
        assertThat(results.get(2).at("/arms/0/arm").asText()).isEqualTo("nothing, K = 0");
        for (var setting : List.of(results.get(0), results.get(1))) {
            assertThat(setting.get("arms")).hasSize(5);
            double base = setting.at("/arms/0/mean_accuracy").asDouble();
            double all = setting.at("/arms/2/mean_accuracy").asDouble();
            assertThat(base).isBetween(0.05, 0.6); // knows the words, not the tasks
            assertThat(all).isGreaterThan(base);
            Path adapter = run.resolve(setting.get("setting").asText()).resolve("meta-few/adapter");
            var said = Cli.run("generate", "--model", run.resolve("model"), "--adapter", adapter, "--prompt", "Where is the goat?",
                    "--max-new-tokens", "3");
            assertThat(said.code()).as(said.err()).isZero();
        }
    }

    /** Both found no folder there; one made it. */
    @Test
    void oneOfSeveralMakesTheFolder() {
        Path run = folder.resolve("new/run");
        NewFolder.make(run);
        assertThatThrownBy(() -> NewFolder.make(run)).isInstanceOf(InputException.class)
                .hasMessageContaining(run + ": already exists, and nothing was written over it");
        assertThat(run).isEmptyDirectory();
    }

    @Test
    void aFolderThatCantBeMadeIsBadInput() {
        var result = Cli.run("quickstart", "--output", "/proc/quickstart");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: /proc/quickstart: can't be made: ").contains("give another --output");
    }

    @Test
    void belowAFileThereIsNoFolder() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "mine");
        var result = Cli.run("quickstart", "--output", file.resolve("run"));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: " + file + ": can't be made: a file is there; give another --output");
    }
}
