package io.metalora.config;

import io.metalora.adapter.TargetModules;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.math.BigInteger;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Reads and writes values by the type of their key, whatever YAML itself would make of the text. */
final class ConfigValues {

    private static final Pattern WHOLE = Pattern.compile("[-+]?\\d[\\d_]*");
    private static final Pattern NUMBER = Pattern.compile("[-+]?(\\d[\\d_]*(\\.[\\d_]*)?|\\.\\d[\\d_]*)([eE][-+]?\\d+)?");

    private ConfigValues() {
    }

    /** Whether values of this type can be lists. */
    static boolean takesLists(Class<?> type) {
        return type == List.class || type == TargetModules.class;
    }

    /**
     * A key's value.
     *
     * @param type of the key
     * @throws InputException if the node holds no such value; the message says what was expected
     */
    static Object read(Class<?> type, Yaml.Node node) {
        if (node instanceof Yaml.Sequence sequence) {
            if (!takesLists(type)) {
                throw new InputException("expected " + expected(type) + ", but is a list");
            }
            List<String> names = names(sequence);
            return type == List.class ? names : TargetModules.of(names);
        }
        if (!(node instanceof Yaml.Scalar scalar)) {
            throw new IllegalArgumentException(node.toString());
        }
        String text = scalar.text();
        if (type == int.class) {
            return (int) whole(text, Integer.MIN_VALUE, Integer.MAX_VALUE, 32);
        }
        if (type == long.class) {
            return whole(text, Long.MIN_VALUE, Long.MAX_VALUE, 64);
        }
        if (type == float.class) {
            return Float.parseFloat(number(text));
        }
        if (type == double.class) {
            return Double.parseDouble(number(text));
        }
        if (type == boolean.class) {
            if (!text.equalsIgnoreCase("true") && !text.equalsIgnoreCase("false")) {
                throw unexpected(type, text);
            }
            return Boolean.parseBoolean(text);
        }
        if (type == Path.class) {
            return path(text);
        }
        if (type == String.class) {
            return text;
        }
        if (type == TargetModules.class) {
            return TargetModules.ofString(text);
        }
        if (type.isEnum()) {
            return constant(type, text);
        }
        throw unexpected(type, text);
    }

    private static String expected(Class<?> type) {
        if (type == int.class || type == long.class) {
            return "a whole number";
        }
        if (type == float.class || type == double.class) {
            return "a number";
        }
        if (type == boolean.class) {
            return "true or false";
        }
        if (type == Path.class) {
            return "a path";
        }
        return type == List.class ? "a list of names, as [a, b]" : "one value";
    }

    private static InputException unexpected(Class<?> type, String text) {
        return new InputException("expected " + expected(type) + ", but is " + Shown.quoted(text));
    }

    private static List<String> names(Yaml.Sequence sequence) {
        var names = new ArrayList<String>();
        for (Yaml.Node item : sequence.items()) {
            if (!(item instanceof Yaml.Scalar scalar)) {
                throw new InputException("expected a list of names, but in it is a " + (item instanceof Yaml.Sequence ? "list" : "section"));
            }
            if (scalar.text().isEmpty()) {
                throw new InputException("the list holds an empty name");
            }
            names.add(scalar.text());
        }
        return List.copyOf(names);
    }

    private static long whole(String given, long least, long most, int bits) {
        String text = given.strip();
        if (!WHOLE.matcher(text).matches()) {
            throw unexpected(long.class, given);
        }
        // Twenty digits are more than a long has; leading zeros aside, longer numbers need not be read.
        String digits = text.replace("_", "").replaceFirst("^([-+]?)0+(?=\\d)", "$1");
        var value = digits.length() > 20 ? null : new BigInteger(digits);
        if (value == null || value.compareTo(BigInteger.valueOf(least)) < 0 || value.compareTo(BigInteger.valueOf(most)) > 0) {
            throw new InputException("expected a whole number of " + bits + " bits (" + least + " to " + most + "), but is "
                    + Shown.quoted(given));
        }
        return value.longValueExact();
    }

    /** Trainers compute in floats: a number outside their range would silently become infinite, or 0. */
    private static String number(String given) {
        String text = given.strip();
        if (!NUMBER.matcher(text).matches()) {
            throw unexpected(double.class, given);
        }
        String digits = text.replace("_", "");
        double value = Math.abs(Double.parseDouble(digits));
        boolean zero = digits.chars().takeWhile(c -> c != 'e' && c != 'E').noneMatch(c -> c >= '1' && c <= '9');
        if (value > Float.MAX_VALUE || value < Float.MIN_NORMAL && !zero) {
            throw new InputException("expected a number that a 32-bit float holds (0, or 1.2e-38 to 3.4e38), but is " + Shown.quoted(given));
        }
        return digits;
    }

    private static Path path(String text) {
        if (text.isEmpty()) {
            throw new InputException("expected a path, but is empty");
        }
        if (text.indexOf('\0') >= 0) {
            throw new InputException("expected a path, but " + Shown.quoted(text) + " holds a NUL character, which no path can");
        }
        if (text.startsWith("~/")) { // else a folder of that name is made
            throw new InputException("expected a path, but is " + Shown.quoted(text) + ", and ~ is not replaced here; write the home "
                    + "folder out, or ./~ if a folder has that name");
        }
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw new InputException("expected a path, but " + Shown.quoted(text) + " can't be the name of a file here ("
                    + e.getReason() + "); if it holds letters beyond ASCII, set a UTF-8 locale, as LC_ALL=C.UTF-8");
        }
    }

    private static Object constant(Class<?> type, String text) {
        for (Object constant : type.getEnumConstants()) {
            if (name((Enum<?>) constant).equals(text)) {
                return constant;
            }
        }
        throw new InputException(Shown.quoted(text) + " is not one of " + Arrays.stream(type.getEnumConstants())
                .map(constant -> name((Enum<?>) constant)).collect(Collectors.joining(", ")));
    }

    /** An enum as its lower-case name with dashes. */
    private static String name(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /** A value as YAML that {@link #read} takes for the same; lists take several lines, indented by {@code indent}. */
    static String write(Object value, String indent) {
        return switch (value) {
            case null -> "null";
            case Path path -> Yaml.quoted(path.toString());
            case String text -> Yaml.quoted(text);
            case TargetModules.AllLinear all -> TargetModules.ALL_LINEAR;
            case TargetModules.Regex regex -> Yaml.quoted(regex.expression());
            case TargetModules.Names names -> write(names.names(), indent);
            case Enum<?> constant -> name(constant);
            case List<?> list -> list.isEmpty() ? "[]" : list.stream()
                    .map(item -> "\n" + indent + "- " + write(item, indent)).collect(Collectors.joining());
            default -> value.toString();
        };
    }
}
