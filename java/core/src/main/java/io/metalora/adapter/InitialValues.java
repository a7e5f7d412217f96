package io.metalora.adapter;

import io.metalora.random.SplitMix64;

/**
 * The values an adapter begins with: every A uniform in (-1/sqrt(in), 1/sqrt(in)), as PEFT's, and every B zero.
 *
 * <p>Element i of the A of the Linear at {@code path} is a function of (seed, path, i) and of nothing else: its 64 bits
 * are SplitMix64's finalizer (Steele, Lea and Flood 2014) of key + (i + 1) * 0x9E3779B97F4A7C15, with
 * key = finalizer(finalizer(seed + 0x9E3779B97F4A7C15) + FNV-1a(path)). The top 24 bits, plus one half, over 2^24 give
 * a number of (0, 1) that a float holds exactly. Another choice of targets leaves the values of a Linear as they are.
 */
final class InitialValues {
    private InitialValues() {}

    /** A [r, in] of a site. */
    static float[] a(long seed, LoraLayout.Site site, int rank) {
        long key = SplitMix64.finalizer(SplitMix64.finalizer(seed + SplitMix64.GOLDEN) + SplitMix64.fnv1a(site.path()));
        float bound = (float) (1 / Math.sqrt(site.in()));
        var a = new float[Math.multiplyExact(rank, site.in())];
        for (int i = 0; i < a.length; i++) {
            long bits = SplitMix64.finalizer(key + (i + 1) * SplitMix64.GOLDEN);
            float symmetric = ((bits >>> 40) - 8_388_607.5f) / 8_388_608f; // 2^23; in (-1, 1)
            a[i] = symmetric * bound;
        }
        return a;
    }
}
