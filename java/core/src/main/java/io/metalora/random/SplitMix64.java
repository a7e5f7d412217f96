package io.metalora.random;

import java.nio.charset.StandardCharsets;

/** Numbers as a function of a key and a counter: SplitMix64 (Steele, Lea and Flood 2014), and keys from names. */
public final class SplitMix64 {

    /** The step of the counter: 2^64 divided by the golden ratio. */
    public static final long GOLDEN = 0x9E3779B97F4A7C15L;

    private SplitMix64() {
    }

    /** Its finalizer, which turns a counter into bits that look random. */
    public static long finalizer(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** A name's hash, FNV-1a over its UTF-8. */
    public static long fnv1a(String text) {
        long hash = 0xCBF29CE484222325L;
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xFF)) * 0x100000001B3L;
        }
        return hash;
    }
}
