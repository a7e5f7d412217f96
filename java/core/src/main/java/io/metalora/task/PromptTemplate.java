package io.metalora.task;

import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Texts that records fill in, as {@code "Translate: {source}"} and {@code " {target}"}: a name in braces stands for the record's key
 * or column of that name, doubled braces for a brace.
 *
 * @param prompt     what the model reads
 * @param completion what it has to say
 */
public record PromptTemplate(String prompt, String completion) {

    private static final Pattern PLACE = Pattern.compile("\\{\\{|\\}\\}|\\{([^{}]+)\\}");
    private static final int MOST_NAMES = 20;

    public PromptTemplate {
        Objects.requireNonNull(prompt, "prompt");
        Objects.requireNonNull(completion, "completion");
    }

    /** @throws InputException if the record lacks what a text names, or it is no text or number, or the completion is empty */
    Example fill(JsonNode record, String source) {
        String filled = fill(completion, record, source);
        if (filled.isEmpty()) {
            throw new InputException(source + ": the completion is empty, so there is nothing to learn or to score; remove the record or fill it in");
        }
        return new Example(fill(prompt, record, source), filled, source);
    }

    private static String fill(String text, JsonNode record, String source) {
        return PLACE.matcher(text).replaceAll(place -> Matcher.quoteReplacement(
                place.group(1) == null ? place.group().substring(1) : value(place.group(1), record, source)));
    }

    private static String value(String name, JsonNode record, String source) {
        JsonNode value = record.get(name);
        if (value == null) {
            var names = new ArrayList<String>();
            record.fieldNames().forEachRemaining(known -> names.add(Shown.plain(known)));
            throw new InputException(source + ": there is no " + Shown.quoted(name) + ", which the task's text names; there are "
                    + Shown.first(names, MOST_NAMES));
        }
        if (!value.isTextual() && !value.isNumber()) {
            throw new InputException(source + ": " + Shown.quoted(name) + ", which the task's text names, must be a text or a number, but is "
                    + Shown.plain(value.toString()));
        }
        return value.asText();
    }
}
