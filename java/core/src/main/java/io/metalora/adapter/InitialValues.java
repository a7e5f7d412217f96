package io.metalora.adapter;

import java.nio.charset.StandardCharsets;

/**
 * The values an adapter begins with: every A uniform in (-1/sqrt(in), 1/sqrt(in)), as PEFT's, and every B zero.
 *
 * <p>Element i of the A of the Linear at {@code path} is a function of (seed, path, i) and of nothing else: its 64 bits
 * are SplitMix64's finalizer (Steele, Lea and Flood 2014) of key + (i + 1) * 0x9E3779B97F4A7C15, with
 * key = finalizer(finalizer(seed + 0x9E3779B97F4A7C15) + FNV-1a(path)). The top 24 bits, plus one half, over 2^24 give
 * a number of (0, 1) that a float holds exactly. Another choice of targets leaves the values of a Linear as they are.
 */
final class InitialValues {
    private static final long GOLDEN = 0x9E3779B97F4A7C15L;

    private InitialValues() {}

    /** A [r, in] of a site. */
    static float[] a(long seed, LoraLayout.Site site, int rank) {
        long key = finalizer(finalizer(seed + GOLDEN) + fnv1a(site.path()));
        float bound = (float) (1 / Math.sqrt(site.in()));
        var a = new float[Math.multiplyExact(rank, site.in())];
        for (int i = 0; i < a.length; i++) {
            long bits = finalizer(key + (i + 1) * GOLDEN);
            float symmetric = ((bits >>> 40) - 8_388_607.5f) / 8_388_608f; // 2^23; in (-1, 1)
            a[i] = symmetric * bound;
        }
        return a;
    }

    private static long finalizer(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    private static long fnv1a(String text) {
        long hash = 0xCBF29CE484222325L;
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xFF)) * 0x100000001B3L;
        }
        return hash;
    }
}
