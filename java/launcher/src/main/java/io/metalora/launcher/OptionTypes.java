package io.metalora.launcher;

import io.metalora.adapter.AdapterPart;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;
import picocli.CommandLine;

/** How the values of options are read, with messages that need no knowledge of Java. */
final class OptionTypes {

    private OptionTypes() {
    }

    static void register(CommandLine commandLine) {
        ITypeConverter<Integer> ints = text -> whole(text, Integer.MIN_VALUE, Integer.MAX_VALUE).intValue();
        ITypeConverter<Long> longs = text -> whole(text, Long.MIN_VALUE, Long.MAX_VALUE).longValue();
        commandLine.registerConverter(int.class, ints);
        commandLine.registerConverter(Integer.class, ints); // of options that may be absent
        commandLine.registerConverter(long.class, longs);
        commandLine.registerConverter(Long.class, longs);
        commandLine.registerConverter(float.class, OptionTypes::number);
        commandLine.registerConverter(Path.class, OptionTypes::path);
        commandLine.registerConverter(Limit.class, Limit::parse);
        commandLine.registerConverter(AdapterPart.class, OptionTypes::part);
    }

    private static BigInteger whole(String text, long least, long most) {
        BigInteger value;
        try {
            value = new BigInteger(text.strip());
        } catch (NumberFormatException e) {
            throw new TypeConversionException("'" + text + "' is not a whole number");
        }
        if (value.compareTo(BigInteger.valueOf(least)) < 0 || value.compareTo(BigInteger.valueOf(most)) > 0) {
            throw new TypeConversionException("'" + text + "' is not between " + least + " and " + most);
        }
        return value;
    }

    private static float number(String text) {
        try {
            float value = new BigDecimal(text.strip()).floatValue();
            if (Float.isFinite(value)) {
                return value;
            }
        } catch (NumberFormatException e) {
            // Said below: NaN and Infinity are no numbers either.
        }
        throw new TypeConversionException("'" + text + "' is not a number");
    }

    /** By its word: picocli would take and show the constant's name too. */
    private static AdapterPart part(String text) {
        return Arrays.stream(AdapterPart.values()).filter(part -> part.toString().equalsIgnoreCase(text)).findFirst()
                .orElseThrow(() -> new TypeConversionException("'" + text + "' is not one of " + Arrays.stream(AdapterPart.values())
                        .map(AdapterPart::toString).collect(Collectors.joining(", "))));
    }

    private static Path path(String text) {
        if (text.isEmpty()) {
            throw new TypeConversionException("it is empty; give a file or folder");
        }
        if (text.startsWith("~/")) { // as in --out=~/x, where shells leave it to the program
            throw new TypeConversionException("in '" + text + "' ~ is not replaced; write the home folder out, or ./~ if a folder has that name");
        }
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw new TypeConversionException("'" + text.replace('\0', '\u2400') + "' can't be the name of a file or folder: "
                    + e.getReason());
        }
    }
}
