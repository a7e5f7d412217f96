package io.metalora.adapter;

import java.util.regex.Pattern;

/**
 * A text that a regular expression may read only so often: without a limit, an expression like {@code (x+x+)+y} tries more ways
 * to match than there is time for.
 */
final class BoundedText implements CharSequence {

    /** Far above what a sensible expression looks at in a module's path, and done in a millisecond. */
    static final int MOST = 100_000;

    /** Characters of an expression. */
    static final int MAX_EXPRESSION = 4096;
    /** What the counts of an expression, as in {@code x{3}}, may multiply to: so often a matcher goes round without a look. */
    static final int MAX_REPETITIONS = 1000;

    private static final Pattern COUNT = Pattern.compile("\\{(\\d+)");

    /** Thrown out of the matcher. */
    static final class Exceeded extends RuntimeException {
        Exceeded() {
            super(null, null, false, false);
        }
    }

    private final String text;
    private int looks;

    BoundedText(String text) {
        this.text = text;
    }

    /** Whether the looks bound the time that the expression takes. */
    static boolean mayBeMatched(String expression) {
        return expression.length() <= MAX_EXPRESSION
                && COUNT.matcher(expression).results().mapToDouble(count -> Math.max(1, Double.parseDouble(count.group(1))))
                        .reduce(1, (a, b) -> a * b) <= MAX_REPETITIONS;
    }

    @Override
    public char charAt(int index) {
        if (++looks > MOST) {
            throw new Exceeded();
        }
        return text.charAt(index);
    }

    @Override
    public int length() {
        return text.length();
    }

    @Override
    public CharSequence subSequence(int start, int end) {
        return text.substring(start, end);
    }

    @Override
    public String toString() {
        return text;
    }
}
