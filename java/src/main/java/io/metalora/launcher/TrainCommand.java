package io.metalora.launcher;

import io.metalora.eval.Comparison;
import io.metalora.eval.HtmlReport;
import io.metalora.eval.LongExamples;
import io.metalora.eval.RunRecord;
import io.metalora.eval.Split;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.DeviceInfo;
import io.metalora.runtime.InputException;
import io.metalora.task.OverLength;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
import io.metalora.train.RunFolder;
import io.metalora.train.TrainConfig;
import io.metalora.train.TrainingRun;
import io.metalora.train.TrainingRun.Outcome;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code train}: from a checkpoint and a folder of tasks to an adapter. */
@Command(
        name = "train",
        description = {
                "Trains a LoRA adapter with MeTA-LoRA, or with joint LoRA, as the configuration says.",
                "",
                "The run's folder, config key 'output', gets adapter/ (PEFT form), checkpoints/, metrics.jsonl, draws.jsonl, the "
                        + "resolved configuration and report.html. Ctrl-C saves; --resume goes on with the same bits.",
                ""},
        footer = {
                "",
                "Examples:",
                "  metalora train config.yaml",
                "  metalora train config.yaml model=models/tiny output=run meta.inner_steps=1 --eval dev",
                "  metalora train --resume run"})
final class TrainCommand implements Callable<Integer> {

    @Parameters(arity = "0..*", paramLabel = "CONFIG.yaml [key=value ...]",
            description = "The configuration, then settings that replace those in it, with dotted keys: optimizer.lr=5e-4. "
                    + "Settings alone do too.")
    private List<String> arguments = new ArrayList<>();

    @Option(names = "--resume", paramLabel = "RUN",
            description = "Go on with the run in this folder. A configuration given again must be the same but for its section compute.")
    private Path resume;

    @Option(names = "--allow-changed-model",
            description = "With --resume: go on though the base model's weights, configuration or tokenizer are not what they were when the "
                    + "run began.")
    private boolean allowChangedModel;

    @Option(names = "--eval", paramLabel = "train|dev|test",
            description = "In the end, measure accuracy on this split of the tasks: of the base model, the shared adapter and, with "
                    + "MeTA-LoRA, the adapter after stage 1 on each task's samples (default: test, if every task has it).")
    private Split evaluated;

    @Option(names = "--no-eval", description = "Measure no accuracy in the end; the report then has no result table.")
    private boolean unevaluated;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        PrintWriter err = spec.commandLine().getErr();
        var progress = new TrainProgress(spec, "train");
        Outcome outcome;
        try (var stop = new StopSignal(() -> err.println("\nstopping: saving the run"))) {
            try (progress) {
                outcome = run(progress, stop);
            }
            if (outcome.interrupted()) {
                report(outcome, progress, Optional.empty());
                return ExitCode.INTERRUPTED;
            }
        }
        RunFolder folder = outcome.folder();
        report(outcome, progress, evaluated == null ? Optional.empty()
                : Optional.of(RunEvaluation.evaluate(spec, folder.config(), folder.adapter(), evaluated)));
        return ExitCode.OK;
    }

    private void report(Outcome outcome, TrainProgress progress, Optional<Comparison> comparison) {
        Path report = outcome.folder().path().resolve("report.html");
        HtmlReport.write(RunReport.of(outcome, comparison, evaluated, progress.device()), report);
        tell(outcome, comparison, report, progress.device());
    }

    private Outcome run(TrainProgress progress, StopSignal stop) {
        boolean configured = !arguments.isEmpty();
        if (!configured && resume == null) {
            throw new InputException("train needs a configuration, as in 'metalora train config.yaml', or --resume RUN");
        }
        if (allowChangedModel && resume == null) {
            throw new InputException("--allow-changed-model is for --resume RUN: a new run takes the model as it is");
        }
        if (!configured) {
            chooseSplit(RunFolder.existing(resume).config());
            return TrainingRun.resume(resume, null, allowChangedModel, progress, stop);
        }
        TrainConfig config = config();
        chooseSplit(config);
        return resume == null ? TrainingRun.start(config, progress, stop)
                : TrainingRun.resume(resume, config, allowChangedModel, progress, stop);
    }

    /** What to evaluate on in the end; a missing split is better said before the training than after it. */
    private void chooseSplit(TrainConfig config) {
        if (evaluated != null && unevaluated) {
            throw new InputException("--eval and --no-eval contradict each other; leave one away");
        }
        if (unevaluated || config.data().folder() == null) {
            return;
        }
        List<Task> tasks = TaskFolder.read(config.data().folder(), config.data().names());
        if (evaluated != null) {
            tasks.forEach(evaluated::require);
        } else if (tasks.stream().noneMatch(task -> task.test().isEmpty())) {
            evaluated = Split.TEST;
        }
        if (evaluated != null && config.model() != null && config.data().overLength() == OverLength.REFUSE) {
            ModelConfig model = ModelConfig.read(config.model());
            try (var tokenizer = TextTokenizer.load(config.model())) {
                LongExamples.refuse(tasks, evaluated, tokenizer, model);
            }
        }
    }

    private TrainConfig config() {
        String first = arguments.getFirst();
        if (first.indexOf('=') > 0 && !first.matches(".*\\.ya?ml")) {
            return TrainConfig.of(arguments.toArray(String[]::new));
        }
        return TrainConfig.read(Path.of(first), arguments.subList(1, arguments.size()));
    }

    private void tell(Outcome outcome, Optional<Comparison> comparison, Path report, DeviceInfo device) {
        PrintWriter out = spec.commandLine().getOut();
        RunFolder folder = outcome.folder();
        if (outcome.interrupted()) {
            out.println("Stopped after " + outcome.done() + " of " + outcome.total() + " iterations; they are saved.");
            out.println("Go on with: metalora train --resume " + folder.path());
            return;
        }
        RunRecord record = RunRecord.read(folder.metrics(), folder.draws());
        out.println(String.format(Locale.ROOT, "Trained %d iterations on %d tokens in %s (%.0f tokens a second).", outcome.done(),
                record.tokens(), Progress.time(Math.round(record.seconds())), record.tokens() / record.seconds()));
        comparison.ifPresent(table -> {
            var text = new TextTable(table.headings());
            table.rows().forEach(text::row);
            out.println();
            out.println("Accuracy on " + evaluated + " in percent:");
            out.print(text.row(table.meanRow()));
            out.println();
        });
        out.println("device   " + device.backend() + ", " + device.deviceName() + " (" + device.reason() + ")");
        out.println("adapter  " + folder.adapter());
        out.println("report   " + report);
    }
}
