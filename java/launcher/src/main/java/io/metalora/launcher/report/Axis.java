package io.metalora.launcher.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A linear axis between two round values, with ticks at steps of 1, 2 or 5 times a power of ten.
 *
 * @param low   value at the axis' start
 * @param high  value at its end, above {@code low}
 * @param step  distance of the ticks
 */
record Axis(double low, double high, double step) {

    /** The axis with about {@code ticks} steps that covers the given values. */
    static Axis covering(double low, double high, int ticks) {
        if (!(high > low)) {
            double around = Math.max(Math.abs(low), 1e-3) / 2;
            return covering(low - around, low + around, ticks);
        }
        double raw = (high - low) / ticks;
        double power = Math.pow(10, Math.floor(Math.log10(raw)));
        double unit = raw / power;
        double step = power * (unit <= 1 ? 1 : unit <= 2 ? 2 : unit <= 5 ? 5 : 10);
        return new Axis(Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step, step);
    }

    /** The position of a value: 0 at the start of the axis, 1 at its end. */
    double fraction(double value) {
        return (value - low) / (high - low);
    }

    List<Double> ticks() {
        var ticks = new ArrayList<Double>();
        long count = Math.round((high - low) / step);
        for (long i = 0; i <= count; i++) {
            ticks.add(low + i * step);
        }
        return ticks;
    }

    /** A tick's value with as many decimals as the step needs. */
    String label(double value) {
        int decimals = (int) Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
        String text = String.format(Locale.ROOT, "%." + decimals + "f", value);
        return text.matches("-0(\\.0+)?") ? text.substring(1) : text;
    }
}
