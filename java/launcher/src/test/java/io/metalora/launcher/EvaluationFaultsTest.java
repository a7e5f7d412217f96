package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.files.EachFault;
import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/**
 * Everything that the evaluation and the report of a trained run do to its files fails in turn: the message names file and
 * cause, the run is as it was, and once the fault is mended the evaluation is completed.
 */
class EvaluationFaultsTest {

    @TempDir
    private Path folder;

    private final FaultyFileSystem files = new FaultyFileSystem();

    @Test
    void anEvaluationThatFailsAtAnyOperationIsCompleted() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path trained = folder.resolve("trained");
        assertThat(Cli.run("train", Cli.config(folder, tasks, trained), "compute.threads=1", "--no-eval").code()).isZero();
        Path straight = EachFault.copy(trained, folder.resolve("straight"));
        String expected = table(Cli.run("train", "--resume", straight).out());

        var hit = EachFault.of(files, name -> {
            Path run = EachFault.copy(trained, folder.resolve(name));
            Cli.Result result = onFaultyFiles("--resume", run);
            if (!files.failed()) {
                return;
            }
            String what = files.firstFailed() + " fails, " + files.fault() + " in " + name + ": " + result;
            files.mend();
            if (result.code() != ExitCode.OK) { // a fault that costs nothing may be passed over
                assertThat(result.code()).as(what).isEqualTo(placeIsAtFault(files.firstFailed(), name) ? ExitCode.BAD_INPUT : ExitCode.FAILURE);
                assertThat(result.err()).as(what).contains("error: ", run.toString()).doesNotContain("Exception");
            }
            if (files.firstFailed().equals("write evaluation.jsonl") && name.endsWith("false")) { // that one write alone
                assertThat(result.out()).as(what).contains("Trained 6 iterations", "The evaluation is not complete.");
                assertThat(run.resolve("report.html")).as(what).content().contains("The evaluation is not complete.");
            }
            assertThat(run.resolve("adapter/adapter_model.safetensors")).as(what)
                    .hasSameBinaryContentAs(trained.resolve("adapter/adapter_model.safetensors"));
            Cli.Result completed = Cli.run("train", "--resume", run);
            assertThat(completed.code()).as(what + "; then: " + completed).isZero();
            assertThat(table(completed.out())).as(what).isEqualTo(expected);
            assertThat(run.resolve("report.html")).as(what).content().contains("Results").doesNotContain("not complete");
            try (var all = Files.walk(run)) {
                assertThat(all.map(file -> file.getFileName().toString())).as(what).noneMatch(file -> file.contains("tmp-"));
            }
        });
        assertThat(hit).anyMatch(operation -> operation.equals("write evaluation.jsonl"))
                .anyMatch(operation -> operation.equals("rename to report.html"));
    }

    /** The lock's file is the first that is opened: where it can't be written, the folder is the wrong one. */
    private static boolean placeIsAtFault(String operation, String name) {
        return operation.equals("open run.lock") && (name.contains(Fault.READ_ONLY.name()) || name.contains(Fault.DENIED.name()));
    }

    private static String table(String out) {
        return out.substring(out.indexOf("Accuracy on "), out.indexOf("device   "));
    }

    /** The verb train with its paths on the file system that fails. */
    private Cli.Result onFaultyFiles(String option, Path run) {
        var out = new StringWriter();
        var err = new StringWriter();
        var errors = new Errors(new PrintWriter(err), () -> false);
        Callable<Integer> train = new TrainCommand();
        int code = new CommandLine(train).setOut(new PrintWriter(out, true)).setErr(new PrintWriter(err, true))
                .setExecutionExceptionHandler(errors).registerConverter(Path.class, text -> files.path(Path.of(text)))
                .registerConverter(Limit.class, Limit::parse).execute(option, run.toString());
        return new Cli.Result(code, out.toString(), err.toString());
    }
}
