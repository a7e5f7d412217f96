package io.metalora.launcher;

import io.metalora.file.Shown;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** A preview for the terminal: trained tokens are coloured, or stand in double brackets where there is no colour. */
final class PreviewText {

    static final List<String> HEADINGS = List.of("task", "split", "samples", "used", "tokens", "shortest", "median", "longest",
            "trained", "too long", "duplicates");
    private static final String INDENT = "    ";

    private final String begin;
    private final String end;

    PreviewText(boolean colour) {
        begin = colour ? "\u001b[32m" : "[[";
        end = colour ? "\u001b[0m" : "]]";
    }

    /** How {@link #example} marks a trained token. */
    String legend() {
        return "Tokens that carry loss are shown " + begin + "so" + end + ".";
    }

    /** Where it stands, its text and its ids. */
    String example(EncodedPreview example) {
        String text = example.spans().stream().map(span -> marked(span, Shown.lines(span.text()))).collect(Collectors.joining());
        String ids = example.spans().stream().map(span -> marked(span, ids(span))).collect(Collectors.joining(" "));
        return Shown.lines(example.source()) + ": " + example.tokens() + " tokens, " + example.trained() + " trained\n" + INDENT
                + text.replace("\n", "\n" + INDENT) + "\n" + INDENT + "ids " + ids + "\n";
    }

    private String marked(EncodedPreview.Span span, String text) {
        return span.trained() ? begin + text + end : text;
    }

    static String ids(EncodedPreview.Span span) {
        return span.ids().stream().map(String::valueOf).collect(Collectors.joining(" "));
    }

    /** The rows of a task, as {@link #HEADINGS} names them. */
    static List<List<String>> rows(TaskPreview task) {
        return task.splits().stream().map(split -> List.of(task.task(), split.split(), text(split.samples()), text(split.used()),
                text(split.tokens()), text(split.minTokens()), text(split.medianTokens()), text(split.maxTokens()),
                text(split.trainedTokens()), text(split.tooLong()), text(split.duplicates()))).toList();
    }

    private static String text(Object number) {
        return number == null ? "" : number.toString();
    }

    /** How the task is answered, and what its splits have in common. */
    static List<String> remarks(TaskPreview task) {
        var remarks = new ArrayList<String>();
        remarks.add(task.labels().isEmpty() ? "open answers, judged by exact match"
                : task.labels().size() + " labels: " + task.labels().stream().map(Shown::quoted).collect(Collectors.joining(", ")));
        for (var overlap : task.overlaps()) {
            if (overlap.same() > 0) {
                remarks.add(overlap.same() + " of " + overlap.split() + " are also in " + overlap.with() + ", prompt and completion");
            }
            if (overlap.samePrompt() > 0) {
                remarks.add(overlap.samePrompt() + " of " + overlap.split() + " have a prompt of " + overlap.with()
                        + " with another completion");
            }
        }
        return remarks;
    }
}
