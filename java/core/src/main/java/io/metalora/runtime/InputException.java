package io.metalora.runtime;

/**
 * Input (a file, a configuration, data) that cannot be used. The message says what is wrong, where, and what to do, in one line:
 * control characters that come from a file are escaped, as in {@code &#92;u000a}.
 */
public class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public InputException(String message) {
        super(oneLine(message));
    }

    public InputException(String message, Throwable cause) {
        super(oneLine(message), cause);
    }

    private static String oneLine(String message) {
        if (message == null || message.chars().noneMatch(Character::isISOControl)) {
            return message;
        }
        var line = new StringBuilder();
        message.chars().forEach(c -> line.append(Character.isISOControl(c) ? "\\u%04x".formatted(c) : Character.toString(c)));
        return line.toString();
    }
}
