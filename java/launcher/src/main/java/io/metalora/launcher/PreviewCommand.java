package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.config.TaskSource;
import io.metalora.config.TrainConfig;
import io.metalora.file.Shown;
import io.metalora.io.ModelConfig;
import io.metalora.launcher.report.HtmlReport;
import io.metalora.launcher.report.Report;
import io.metalora.runtime.InputException;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code preview}: what training would see, without the model's weights. */
@Command(
        name = "preview",
        description = {
                "Shows examples as the model sees them in training, with the tokens that carry loss in colour, or in [[ ]] "
                        + "where there is no colour (not a terminal, or NO_COLOR is set).",
                "",
                "Then, for each task and split: samples, tokens, what is too long, duplicates within the split and between splits, "
                        + "and the labels that an evaluation would rank. Reads the model's tokenizer and config.json, no weights; "
                        + "trains nothing.",
                ""},
        footer = {
                "",
                "Examples:",
                "  metalora preview config.yaml",
                "  metalora preview config.yaml data.samples_per_task=10 -n 5 --html preview.html"})
final class PreviewCommand implements Callable<Integer> {

    @Parameters(arity = "1..*", paramLabel = "CONFIG.yaml [key=value ...]",
            description = "A training's configuration, then settings that replace those in it, as for train. Settings alone do too.")
    private List<String> arguments = new ArrayList<>();

    @Option(names = "--task", paramLabel = "T", description = "Show this task alone; several times for several.")
    private List<String> names = new ArrayList<>();

    @Option(names = "-n", paramLabel = "N|all", defaultValue = "2",
            description = "Show so many training examples of each task (default: ${DEFAULT-VALUE}), the first that training would take.")
    private Limit examples;

    @Option(names = "--html", paramLabel = "FILE", description = "Write the same as a page too, to a file that doesn't exist yet.")
    private Path html;

    @Option(names = "--json", description = "Print JSON instead of text.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @JsonPropertyOrder({"model", "folder", "over_length", "tasks"})
    private record Output(String model, String folder, String overLength, List<TaskPreview> tasks) {
    }

    @Override
    public Integer call() {
        TrainConfig config = TrainCommand.config(arguments);
        require(config.model(), "model", "the folder of a Hugging Face checkpoint");
        require(config.data().folder(), "data.folder", "a folder with one folder a task");
        try (NewFile page = html == null ? null : new NewFile(html)) {
            List<TaskPreview> tasks = preview(config);
            PrintWriter out = spec.commandLine().getOut();
            if (json) {
                out.println(Json.pretty(new Output(config.model().toString(), config.data().folder().toString(),
                        config.data().overLength().name().toLowerCase(Locale.ROOT), tasks)));
            } else {
                print(tasks, out);
            }
            if (page != null) {
                page.line(HtmlReport.render(report(config, tasks)));
                page.finish();
                if (!json) {
                    out.println();
                    out.println("page     " + html);
                }
            }
        }
        return ExitCode.OK;
    }

    private static void require(Path path, String key, String what) {
        if (path == null) {
            throw new InputException("config: " + key + " is not set; set it to " + what);
        }
    }

    private List<TaskPreview> preview(TrainConfig config) {
        List<String> chosen = config.data().names();
        names.stream().filter(name -> !chosen.isEmpty() && !chosen.contains(name)).findFirst().ifPresent(name -> {
            throw new InputException("--task " + Shown.quoted(name) + " is not one of data.names: "
                    + String.join(", ", chosen.stream().map(Shown::plain).toList()));
        });
        List<Task> read = config.data().split().of(
                TaskSource.read(config.data().folder(), names.isEmpty() ? chosen : names, config.readOptions()));
        ModelConfig model = ModelConfig.read(config.model());
        try (var tokenizer = TextTokenizer.load(config.model())) {
            return read.stream().map(task -> TaskPreview.of(task, config, tokenizer, model, examples.most())).toList();
        }
    }

    private static void print(List<TaskPreview> tasks, PrintWriter out) {
        // picocli takes any process with a console for a terminal, as Java gives one to all.
        var text = new PreviewText(Terminal.isTerminal() && Ansi.AUTO.enabled());
        out.println(text.legend());
        out.println();
        var table = new TextTable(PreviewText.HEADINGS);
        for (TaskPreview task : tasks) {
            task.examples().forEach(example -> out.println(text.example(example)));
            PreviewText.rows(task).forEach(table::row);
        }
        out.print(table);
        out.println();
        for (TaskPreview task : tasks) {
            PreviewText.remarks(task).forEach(remark -> out.println(Shown.plain(task.task()) + ": " + remark));
        }
    }

    private static Report report(TrainConfig config, List<TaskPreview> tasks) {
        var sections = new ArrayList<Report.Section>();
        sections.add(new Report.Table("Tasks", "Tokens are those of whole examples, too long ones included; duplicates have the prompt and the "
                + "completion of an earlier example of their split.", PreviewText.HEADINGS,
                tasks.stream().flatMap(task -> PreviewText.rows(task).stream()).toList(), List.of()));
        for (TaskPreview task : tasks) {
            sections.add(new Report.Tokens(task.task(), String.join("; ", PreviewText.remarks(task)) + ".",
                    task.examples().stream().map(PreviewCommand::item).toList()));
        }
        return new Report("Preview of the training data", config.data().folder() + ", for " + config.model(), sections);
    }

    private static Report.Tokens.Item item(EncodedPreview example) {
        return new Report.Tokens.Item(example.source() + ": " + example.tokens() + " tokens, " + example.trained() + " trained",
                example.spans().stream().map(span -> new Report.Tokens.Span(span.text(), PreviewText.ids(span), span.trained()))
                        .toList());
    }
}
