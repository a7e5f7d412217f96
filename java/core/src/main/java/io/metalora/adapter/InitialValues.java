package io.metalora.adapter;

import io.metalora.random.SplitMix64;

/**
 * The values an adapter begins with: every A, and every router of a mixture, uniform in (-1/sqrt(in), 1/sqrt(in)), as PEFT's and
 * HydraLoRA's, and every B zero. A router of zeros would weigh all heads alike, and they would stay alike for ever.
 *
 * <p>Element i of the A of the Linear at {@code path} is a function of (seed, path, i) and of nothing else: its 64 bits
 * are SplitMix64's finalizer (Steele, Lea and Flood 2014) of key + (i + 1) * 0x9E3779B97F4A7C15, with
 * key = finalizer(finalizer(seed + 0x9E3779B97F4A7C15) + FNV-1a(path)). The top 24 bits, plus one half, over 2^24 give
 * a number of (0, 1) that a float holds exactly. Another choice of targets leaves the values of a Linear as they are. The
 * same holds for a router, whose name takes the place of path.
 */
final class InitialValues {
    private InitialValues() {}

    /** A [r, in] of a site. */
    static float[] a(long seed, AdapterLayout.Site site, int rank) {
        return uniform(seed, site.path(), rank, site.in());
    }

    /** The router [heads, in] of a site. */
    static float[] router(long seed, MixtureLayout.Site site) {
        return uniform(seed, site.path() + ".lora_route", site.heads(), site.in());
    }

    private static float[] uniform(long seed, String name, int rows, int in) {
        long key = SplitMix64.finalizer(SplitMix64.finalizer(seed + SplitMix64.GOLDEN) + SplitMix64.fnv1a(name));
        float bound = (float) (1 / Math.sqrt(in));
        var values = new float[Math.multiplyExact(rows, in)];
        for (int i = 0; i < values.length; i++) {
            long bits = SplitMix64.finalizer(key + (i + 1) * SplitMix64.GOLDEN);
            float symmetric = ((bits >>> 40) - 8_388_607.5f) / 8_388_608f; // 2^23; in (-1, 1)
            values[i] = symmetric * bound;
        }
        return values;
    }
}
