package io.metalora.task;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** Examples with too many tokens, collected so that all of them can be reported at once. Not thread-safe. */
public final class TooLong {

    /** The most examples that a message names, and the most files that it counts the others of. */
    static final int NAMED = 300;

    /** The number of a line, at the end of where an example is from. */
    private static final Pattern LINE = Pattern.compile(":\\d+$");

    private final String limit;
    private final List<String> named = new ArrayList<>();
    private final Map<String, Integer> others = new LinkedHashMap<>();
    private final Set<Example> examples = Collections.newSetFromMap(new IdentityHashMap<>());
    private int longest;
    private int cut;

    /** @param limit what they are longer than, as {@code "the model's context of 8192"} */
    public TooLong(String limit) {
        this.limit = limit;
    }

    /** One more, with its number of tokens. */
    public void add(Example example, int tokens) {
        examples.add(example);
        longest = Math.max(longest, tokens);
        if (named.size() < NAMED) {
            named.add(example.source() + " (" + tokens + ")");
        } else {
            others.merge(LINE.matcher(example.source()).replaceFirst(""), 1, Integer::sum);
        }
    }

    /** Counts an example that was too long, but has been cut to fit. */
    void addCut() {
        cut++;
    }

    /** How many examples were cut to fit, and are not among these. */
    public int cut() {
        return cut;
    }

    public int count() {
        return examples.size();
    }

    /** Whether this very example was added. */
    public boolean contains(Example example) {
        return examples.contains(example);
    }

    /** What they are longer than. */
    public String limit() {
        return limit;
    }

    /**
     * Refuses them, if there are any.
     *
     * @param advice what can be done beside shortening them, beginning with a comma, or nothing
     * @throws InputException that names each with its tokens; of more than some hundred the first, and how many each
     *                        file has of the others
     */
    public void refuse(String advice) {
        if (examples.size() == 1) {
            throw new InputException(examples.iterator().next().source() + ": " + longest + " tokens are more than " + limit
                    + "; shorten or remove the example" + advice);
        }
        if (!examples.isEmpty()) {
            throw new InputException(examples.size() + " examples have more tokens than " + limit + ", the longest "
                    + longest + ": " + String.join(", ", named) + (others.isEmpty() ? "" : " and " + counted())
                    + "; shorten or remove them" + advice);
        }
    }

    private String counted() {
        List<String> files = others.entrySet().stream().map(file -> file.getValue() + " of " + file.getKey()).toList();
        return (examples.size() - NAMED) + " more: " + Shown.first(files, NAMED);
    }
}
