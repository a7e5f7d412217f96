package io.metalora.launcher.chat;

import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;
import jinjava.javax.el.ELException;

/** The functions that transformers offers to a chat template beside Jinja's own. */
final class TemplateFunctions {
    private TemplateFunctions() {}

    /** A template's own verdict on the messages, such as a role order it does not know. */
    static final class Refusal extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Refusal(String message) {
            super(message);
        }
    }

    static List<ELFunctionDefinition> all() {
        return List.of(function("raise_exception"), function("strftime_now"));
    }

    private static ELFunctionDefinition function(String name) {
        try {
            var method = TemplateFunctions.class.getDeclaredMethod(name, String.class);
            method.setAccessible(true); // the template library calls it, from outside this package
            return new ELFunctionDefinition("", name, method);
        } catch (NoSuchMethodException e) {
            throw new AssertionError(e);
        }
    }

    @SuppressWarnings("unused")
    static Object raise_exception(String message) {
        throw new Refusal(message);
    }

    @SuppressWarnings("unused")
    static Object strftime_now(String format) {
        return strftime(format, ZonedDateTime.now());
    }

    /** C's strftime, English names. */
    static String strftime(String format, ZonedDateTime time) {
        var out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%') {
                out.append(c);
                continue;
            }
            char directive = ++i < format.length() ? format.charAt(i) : '%';
            String pattern = switch (directive) {
                case 'd' -> "dd";
                case 'b' -> "MMM";
                case 'B' -> "MMMM";
                case 'm' -> "MM";
                case 'Y' -> "yyyy";
                case 'y' -> "yy";
                case 'a' -> "EEE";
                case 'A' -> "EEEE";
                case 'H' -> "HH";
                case 'I' -> "hh";
                case 'M' -> "mm";
                case 'S' -> "ss";
                case 'p' -> "a";
                case 'j' -> "DDD";
                case '%' -> "'%'";
                default -> throw new ELException("strftime_now's %" + directive + " is not supported");
            };
            out.append(DateTimeFormatter.ofPattern(pattern, Locale.US).format(time));
        }
        return out.toString();
    }
}
