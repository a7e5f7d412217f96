package io.metalora.launcher;

import java.math.BigInteger;
import picocli.CommandLine.TypeConversionException;

/**
 * An upper limit as options give it: a number, or {@code all}.
 *
 * @param most 0 for all
 */
record Limit(int most) {

    private static final String ALL = "all";

    static Limit parse(String text) {
        if (text.equalsIgnoreCase(ALL)) {
            return new Limit(0);
        }
        try {
            BigInteger most = new BigInteger(text);
            if (most.signum() > 0) {
                return new Limit(most.min(BigInteger.valueOf(Integer.MAX_VALUE)).intValue());
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw new TypeConversionException("'" + text + "' is neither a number from 1 on nor '" + ALL + "'");
    }

    @Override
    public String toString() {
        return most == 0 ? ALL : Integer.toString(most);
    }
}
