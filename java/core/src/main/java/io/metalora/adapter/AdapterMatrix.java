package io.metalora.adapter;

/**
 * A matrix of an adapter in its flat vector: element (i, j) is that at {@code offset + i * stride + j}.
 *
 * @param name   as files have it, behind the path of its Linear: {@code lora_A}
 * @param offset from the start of the vector, in floats
 * @param stride floats from one row to the next, {@code columns} unless others lie beside it
 */
public record AdapterMatrix(String name, long offset, int rows, int columns, int stride) {

    static AdapterMatrix dense(String name, long offset, int rows, int columns) {
        return new AdapterMatrix(name, offset, rows, columns, columns);
    }

    /**
     * Its elements, row by row.
     *
     * @param from  a piece of the vector that holds them
     * @param start where the piece begins in the vector
     */
    public float[] gather(float[] from, long start) {
        var values = new float[rows * columns];
        for (int i = 0; i < rows; i++) {
            System.arraycopy(from, at(i, start), values, i * columns, columns);
        }
        return values;
    }

    /** Puts its elements, row by row, into a piece of the vector. */
    void scatter(float[] values, float[] to, long start) {
        for (int i = 0; i < rows; i++) {
            System.arraycopy(values, i * columns, to, at(i, start), columns);
        }
    }

    private int at(int row, long start) {
        return Math.toIntExact(offset - start + (long) row * stride);
    }
}
