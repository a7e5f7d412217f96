package io.metalora.runtime;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** The upper half of a float: its sign, its exponent and 7 bits of its fraction. */
final class Bfloat16 {
    private Bfloat16() {
    }

    /** {@code n} values from {@code from} on to the start of {@code to}, to the nearest, ties to even; NaN stays NaN. */
    static void round(float[] values, int from, MemorySegment to, int n) {
        for (int i = 0; i < n; i++) {
            to.setAtIndex(ValueLayout.JAVA_SHORT, i, round(values[from + i]));
        }
    }

    static short round(float value) {
        int bits = Float.floatToIntBits(value);
        return (short) (Float.isNaN(value) ? bits >>> 16 : (bits + 0x7FFF + (bits >>> 16 & 1)) >>> 16);
    }

    /** The first {@code n} values of {@code from} to {@code values} from {@code at} on. */
    static void widen(MemorySegment from, float[] values, int at, int n) {
        for (int i = 0; i < n; i++) {
            values[at + i] = Float.intBitsToFloat(from.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16);
        }
    }
}
