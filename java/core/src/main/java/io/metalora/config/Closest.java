package io.metalora.config;

import java.util.Collection;
import java.util.Comparator;

/** Finds the known word that a misspelled one most likely stands for. */
final class Closest {

    private Closest() {
    }

    /** The candidate with the smallest edit distance; the first of equals. */
    static String to(String word, Collection<String> candidates) {
        return candidates.stream().min(Comparator.comparingInt(candidate -> distance(word, candidate))).orElseThrow();
    }

    /** Insertions, deletions and substitutions from one word to the other (Levenshtein 1966). */
    static int distance(String from, String to) {
        int[] row = new int[to.length() + 1];
        for (int j = 0; j < row.length; j++) {
            row[j] = j;
        }
        for (int i = 1; i <= from.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j < row.length; j++) {
                int substituted = diagonal + (from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.min(substituted, 1 + Math.min(row[j], row[j - 1]));
            }
        }
        return row[to.length()];
    }
}
