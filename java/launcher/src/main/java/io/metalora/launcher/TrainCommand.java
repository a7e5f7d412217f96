package io.metalora.launcher;

import io.metalora.config.TrainConfig;
import io.metalora.eval.Comparison;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.Split;
import io.metalora.file.Folders;
import io.metalora.file.Shown;
import io.metalora.launcher.report.HtmlReport;
import io.metalora.launcher.report.RunRecord;
import io.metalora.run.RunFolder;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.run.TrainingRun;
import io.metalora.runtime.InputException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code train}: from a checkpoint and a folder of tasks to an adapter. */
@Command(
        name = "train",
        description = {
                "Trains an adapter, LoRA or a mixture, with MeTA-LoRA, jointly on all tasks, or one for each task, as the "
                        + "configuration says.",
                "",
                "The run's folder, config key 'output', gets adapter/ (LoRA in PEFT's form, a mixture in HydraLoRA's), "
                        + "checkpoints/, metrics.jsonl, draws.jsonl, the resolved configuration, evaluation.jsonl and "
                        + "report.html. Ctrl-C saves, at any time; --resume continues with the same bits, and with an "
                        + "evaluation where it was.",
                ""},
        footer = {
                "",
                "Examples:",
                "  metalora train config.yaml",
                "  metalora train config.yaml model=models/tiny output=run meta.inner_steps=1 --eval dev",
                "  metalora train --resume run"})
final class TrainCommand implements Callable<Integer> {

    /** The most rows of the table on a terminal. */
    private static final int MOST_ROWS = 60;

    @Parameters(arity = "0..*", paramLabel = "CONFIG.yaml [key=value ...]",
            description = "The configuration, then settings that replace those in it, with dotted keys: optimizer.lr=5e-4. "
                    + "Settings alone do too.")
    private List<String> arguments = new ArrayList<>();

    @Option(names = "--resume", paramLabel = "RUN",
            description = "Continue the run in this folder, or its evaluation. A configuration given again must be the same but "
                    + "for its section compute.")
    private Path resume;

    @Option(names = "--allow-changed-model",
            description = "With --resume: continue though the base model's weights, configuration or tokenizer are not what they were when the "
                    + "run began.")
    private boolean allowChangedModel;

    @Option(names = "--replay", paramLabel = "RUN/draws.jsonl",
            description = "Repeat the draws of another run, tasks and samples, in place of new ones: short for the setting meta.replay.")
    private Path replay;

    @Option(names = "--eval", paramLabel = "train|dev|test",
            description = "At the end, measure accuracy on this split of the tasks: of the base model, the shared adapter and, with "
                    + "MeTA-LoRA, the adapter after stage 1 on each task's samples (default: test, if every task has it).")
    private Split evaluated;

    @Option(names = "--no-eval", description = "Measure no accuracy at the end; the report then has no result table.")
    private boolean unevaluated;

    @Option(names = "--eval-samples", paramLabel = "N|all",
            description = "Answer at most N items of a task's split, and adapt on at most N of its samples (default: "
                    + EndEvaluation.MOST_SAMPLES + "). The same ones for all arms and runs.")
    private Limit samples;

    @Option(names = "--eval-tasks", paramLabel = "N|all",
            description = "Evaluate at most N of the tasks (default: " + EndEvaluation.MOST_TASKS + "). The same ones for all arms and runs.")
    private Limit tasks;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        PrintWriter err = spec.commandLine().getErr();
        try (var stop = new StopSignal(() -> err.println("\nstopping: what is done is saved"))) {
            EndEvaluation evaluation;
            Outcome outcome;
            try (var progress = Progress.of(spec, "train", List.of(new Progress.Stage("reading the tasks", "", 0, 0)))) {
                evaluation = evaluation(progress, stop);
                outcome = run(evaluation, stop);
            }
            boolean stopped = outcome.interrupted() || evaluation.stopped();
            Path report = outcome.folder().report();
            Optional<RuntimeException> failure = evaluation.failure();
            RunRecord record = null;
            try {
                record = RunRecord.read(outcome.folder().metrics(), outcome.folder().draws());
                HtmlReport.write(RunReport.of(outcome, record, evaluation.sections(), evaluation.device()), report);
            } catch (RuntimeException e) { // the results are reported all the same
                failure = Optional.of(failure.orElse(e));
            }
            tell(outcome, record, evaluation);
            if (failure.isPresent()) {
                throw failure.get();
            }
            spec.commandLine().getOut().println((stopped ? "Report so far: " : "report   ") + report);
            if (stopped) {
                spec.commandLine().getOut().println("Continue with: metalora train --resume " + quoted(outcome.folder().path()) + options());
            }
            if (!stopped && !outcome.diverged().isEmpty()) {
                err.println("error: " + outcome.diverged().size() + " tasks diverged (NaN or infinity) and have no adapter: "
                        + outcome.diverged().entrySet().stream().map(e -> Shown.plain(e.getKey()) + " at " + e.getValue()).collect(Collectors.joining("; "))
                        + "; train them with a lower optimizer.lr, another output and data.names");
                return ExitCode.FAILURE;
            }
            return stopped ? ExitCode.INTERRUPTED : ExitCode.OK;
        }
    }

    private EndEvaluation evaluation(Progress progress, StopSignal stop) {
        if (unevaluated && (evaluated != null || samples != null || tasks != null)) {
            throw new InputException("--no-eval contradicts " + (evaluated != null ? "--eval" : samples != null ? "--eval-samples"
                    : "--eval-tasks") + "; omit one");
        }
        boolean configured = !arguments.isEmpty();
        if (!configured && resume == null) {
            throw new InputException("train needs a configuration, as in 'metalora train config.yaml', or --resume RUN");
        }
        if (replay != null && !configured) {
            throw new InputException("--replay is for a new run: one that is resumed continues with the draws that it began with");
        }
        if (allowChangedModel && resume == null) {
            throw new InputException("--allow-changed-model is for --resume RUN: a new run takes the model as it is");
        }
        TrainConfig config = configured ? replayed(config(arguments)) : RunFolder.existing(resume).config();
        // An evaluation that was begun continues with its own settings.
        Optional<EvaluationLog.Settings> before = resume == null ? Optional.empty()
                : EvaluationLog.settings(RunFolder.existing(resume).evaluation());
        return new EndEvaluation(spec, progress, stop, config, unevaluated,
                evaluated != null ? evaluated : before.map(EvaluationLog.Settings::split).orElse(null),
                samples != null ? samples.most() : before.map(EvaluationLog.Settings::samples).orElse(EndEvaluation.MOST_SAMPLES),
                tasks != null ? tasks.most() : before.map(EvaluationLog.Settings::tasks).orElse(EndEvaluation.MOST_TASKS));
    }

    private Outcome run(EndEvaluation evaluation, StopSignal stop) {
        if (arguments.isEmpty()) {
            return TrainingRun.resume(resume, null, allowChangedModel, evaluation, stop);
        }
        return resume == null ? TrainingRun.start(evaluation.config(), evaluation, stop)
                : TrainingRun.resume(resume, evaluation.config(), allowChangedModel, evaluation, stop);
    }

    /** What a configuration's name and settings after it, or settings alone, say together. */
    static TrainConfig config(List<String> arguments) {
        String first = arguments.getFirst();
        if (first.isEmpty()) { // as of a shell's variable that is not set
            throw new InputException("the configuration's name is empty; give the YAML file of a training run");
        }
        if (first.indexOf('=') > 0 && !first.matches(".*\\.ya?ml")) {
            return TrainConfig.of(arguments.toArray(String[]::new));
        }
        return TrainConfig.read(Path.of(first), arguments.subList(1, arguments.size()));
    }

    private TrainConfig replayed(TrainConfig config) {
        Path set = config.meta().replay();
        if (replay != null && set != null && !Folders.absolute(set).equals(Folders.absolute(replay))) {
            throw new InputException("--replay is " + replay + ", but meta.replay is " + set + "; omit one of them");
        }
        return replay == null ? config : config.toBuilder().meta(meta -> meta.replay(replay)).build();
    }

    /** As a shell takes it. */
    static String quoted(Path path) {
        String text = path.toString();
        return text.matches("[\\w@%+=:,./-]+") ? text : "'" + text.replace("'", "'\\''") + "'";
    }

    /** The options that must be given again to resume the run. */
    private String options() {
        var options = new StringBuilder();
        if (allowChangedModel) {
            options.append(" --allow-changed-model");
        }
        if (unevaluated) {
            options.append(" --no-eval");
        }
        if (evaluated != null) {
            options.append(" --eval ").append(evaluated);
        }
        if (samples != null) {
            options.append(" --eval-samples ").append(samples);
        }
        if (tasks != null) {
            options.append(" --eval-tasks ").append(tasks);
        }
        return options.toString();
    }

    /** @param record null where it can't be read */
    private void tell(Outcome outcome, RunRecord record, EndEvaluation evaluation) {
        PrintWriter out = spec.commandLine().getOut();
        RunFolder folder = outcome.folder();
        if (outcome.interrupted()) {
            out.println("Stopped after " + outcome.done() + " of " + outcome.total() + " iterations; they are saved.");
            return;
        }
        if (record != null) {
            out.println(String.format(Locale.ROOT, "Trained %d iterations on %d tokens in %s (%.0f tokens a second).", outcome.done(),
                    record.tokens(), Progress.time(Math.round(record.seconds())), record.tokens() / record.seconds()));
        }
        evaluation.comparison().ifPresent(comparison -> {
            out.println();
            out.println(evaluation.caption() + ":");
            out.print(table(comparison));
            evaluation.missing().ifPresent(out::println);
            out.println();
        });
        out.println("device   " + evaluation.device().backend() + ", " + evaluation.device().deviceName() + " ("
                + evaluation.device().reason() + ")");
        out.println(evaluation.config().method().givesEachTaskAnAdapter() ? "adapters " + folder.adapters() + ", a folder a task"
                : "adapter  " + folder.adapter());
    }

    private static TextTable table(Comparison comparison) {
        var table = new TextTable(comparison.headings());
        List<List<String>> rows = comparison.rows();
        rows.stream().limit(MOST_ROWS).forEach(table::row);
        if (rows.size() > MOST_ROWS) {
            var more = new ArrayList<>(Collections.nCopies(comparison.headings().size(), ""));
            more.set(0, "... " + (rows.size() - MOST_ROWS) + " more: report.html");
            table.row(more);
        }
        return table.row(comparison.meanRow());
    }
}
