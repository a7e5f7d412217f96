package io.metalora.train;

/** The dot products of the query gradients g_i of an iteration's n tasks. */
public final class Gram {

    /** Of no task. */
    static final Gram NONE = new Gram(new double[0], 0);

    private final double[] products; // [n, n]
    private final int n;

    /** @param products [n, n], row-major; copied */
    Gram(double[] products, int n) {
        this.products = products.clone();
        this.n = n;
    }

    /** n. */
    public int size() {
        return n;
    }

    /** g_i . g_j. */
    public double product(int i, int j) {
        return products[i * n + j];
    }

    /** The norm of g_i. */
    public double norm(int i) {
        return Math.sqrt(product(i, i));
    }

    /** [n, n], row-major: all of {@link #cosine}. */
    double[] cosines() {
        var cosines = new double[n * n];
        for (int i = 0; i < n * n; i++) {
            cosines[i] = cosine(i / n, i % n);
        }
        return cosines;
    }

    /** The cosine of the angle between g_i and g_j; 0 where one of them is 0. */
    public double cosine(int i, int j) {
        double norms = Math.sqrt(product(i, i) * product(j, j));
        return norms == 0 ? 0 : product(i, j) / norms;
    }
}
