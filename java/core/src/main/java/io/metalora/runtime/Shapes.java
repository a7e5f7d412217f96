package io.metalora.runtime;

import java.util.Arrays;

/** Arithmetic on tensor shapes. */
final class Shapes {
    private Shapes() {}

    /** The number of elements of {@code shape}; negative dimensions and overflow are refused. */
    static long elements(String name, long... shape) {
        long elements = 1;
        for (long d : shape) {
            if (d < 0) {
                throw new IllegalArgumentException(name + ": negative dimension in shape " + Arrays.toString(shape));
            }
            try {
                elements = Math.multiplyExact(elements, d);
            } catch (ArithmeticException e) {
                throw new IllegalArgumentException(name + ": shape " + Arrays.toString(shape) + " is too large");
            }
        }
        return elements;
    }
}
