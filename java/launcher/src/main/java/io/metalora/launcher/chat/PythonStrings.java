package io.metalora.launcher.chat;

import com.hubspot.jinjava.el.JinjavaInterpreterResolver;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import jinjava.javax.el.CompositeELResolver;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELException;

/**
 * Gives strings inside a template Python's methods, which chat templates call, in place of Java's: the two share names
 * ({@code split}, {@code strip}) but not meanings.
 */
final class PythonStrings extends CompositeELResolver {

    PythonStrings() {
        add(JinjavaInterpreterResolver.DEFAULT_RESOLVER_READ_WRITE);
    }

    @Override
    public Object invoke(ELContext context, Object base, Object method, Class<?>[] types, Object[] arguments) {
        if (!(base instanceof String s)) {
            return super.invoke(context, base, method, types, arguments);
        }
        Object result = call(s, method.toString(), arguments);
        context.setPropertyResolved(true);
        return result;
    }

    private static Object call(String s, String method, Object[] arguments) {
        String first = arguments.length > 0 && arguments[0] instanceof String text ? text : null;
        return switch (method + "/" + arguments.length) {
            case "strip/0" -> strip(s, null, true, true);
            case "lstrip/0" -> strip(s, null, true, false);
            case "rstrip/0" -> strip(s, null, false, true);
            case "upper/0" -> s.toUpperCase(Locale.ROOT);
            case "lower/0" -> s.toLowerCase(Locale.ROOT);
            case "split/0" -> s.isBlank() ? List.of() : List.of(s.strip().split("\\s+"));
            default -> first == null ? unknown(method, arguments) : switch (method + "/" + arguments.length) {
                case "strip/1" -> strip(s, first, true, true);
                case "lstrip/1" -> strip(s, first, true, false);
                case "rstrip/1" -> strip(s, first, false, true);
                case "startswith/1" -> s.startsWith(first);
                case "endswith/1" -> s.endsWith(first);
                case "find/1" -> (long) s.indexOf(first);
                case "split/1" -> split(s, first, Integer.MAX_VALUE);
                case "split/2" -> arguments[1] instanceof Number n
                        ? split(s, first, n.intValue() < 0 ? Integer.MAX_VALUE : n.intValue())
                        : unknown(method, arguments);
                case "replace/2" -> arguments[1] instanceof String to
                        ? s.replace(first, to) : unknown(method, arguments);
                default -> unknown(method, arguments);
            };
        };
    }

    private static Object unknown(String method, Object[] arguments) {
        throw new ELException("the string method " + method + " with " + arguments.length
                + " arguments is not supported");
    }

    /** Removes whitespace, or any of {@code characters}, from the ends. */
    private static String strip(String s, String characters, boolean left, boolean right) {
        int from = 0;
        int to = s.length();
        while (left && from < to && stripped(s.charAt(from), characters)) {
            from++;
        }
        while (right && to > from && stripped(s.charAt(to - 1), characters)) {
            to--;
        }
        return s.substring(from, to);
    }

    private static boolean stripped(char c, String characters) {
        return characters == null ? Character.isWhitespace(c) || Character.isSpaceChar(c) : characters.indexOf(c) >= 0;
    }

    private static List<String> split(String s, String separator, int most) {
        if (separator.isEmpty()) {
            throw new ELException("split has an empty separator");
        }
        var parts = new ArrayList<String>();
        int from = 0;
        for (int at; parts.size() < most && (at = s.indexOf(separator, from)) >= 0; from = at + separator.length()) {
            parts.add(s.substring(from, at));
        }
        parts.add(s.substring(from));
        return parts;
    }
}
