package io.metalora.text;

import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.runtime.InputException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.BitSet;
import java.util.function.Function;

/**
 * The character map of a SentencePiece normalizer, checked as a whole: the tokenizers library follows its numbers without
 * looking, at whatever text leads to them. In base64: the length in bytes of a trie (u32, little-endian), the trie (u32 units of
 * a double array), then replacements in UTF-8, each ended by a zero.
 */
final class PrecompiledMap {

    private PrecompiledMap() {
    }

    /**
     * @param refused makes the exception of a problem
     * @throws InputException if there is a text for which the library would leave the map
     */
    static void check(JsonNode map, Function<String, InputException> refused) {
        byte[] bytes;
        try {
            bytes = Base64.getDecoder().decode(map.textValue() == null ? "-" : map.textValue());
        } catch (IllegalArgumentException e) {
            throw refused.apply("is not base64 text");
        }
        // Java's decoder takes base64 without its padding; the library does not.
        if (!Base64.getEncoder().encodeToString(bytes).equals(map.textValue())) {
            throw refused.apply("is not base64 text");
        }
        var in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        long trieBytes = bytes.length < Integer.BYTES ? 0 : Integer.toUnsignedLong(in.getInt());
        if (trieBytes < Integer.BYTES || trieBytes > in.remaining()) {
            throw refused.apply("holds a trie of " + trieBytes + " bytes, but has " + bytes.length + " in all");
        }
        int[] units = new int[(int) (trieBytes / Integer.BYTES)];
        in.asIntBuffer().get(units);
        in.position(Integer.BYTES + units.length * Integer.BYTES);
        byte[] replacements = new byte[in.remaining()];
        in.get(replacements);
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(replacements));
        } catch (CharacterCodingException e) {
            throw refused.apply("holds replacements that are not UTF-8");
        }
        walk(units, replacements, refused);
    }

    /** Follows every byte from every position that can be reached. */
    private static void walk(int[] units, byte[] replacements, Function<String, InputException> refused) {
        var seen = new BitSet(units.length);
        var open = new ArrayDeque<Integer>();
        visit(offset(units[0]), units, seen, open, refused);
        while (!open.isEmpty()) {
            int position = open.pop();
            for (int label = 1; label <= 0xf4; label++) { // the highest byte of UTF-8
                int child = position ^ label;
                if (child >= units.length) {
                    throw refused.apply("leads beyond its trie of " + units.length + " units");
                }
                int unit = units[child];
                if ((unit & 0x800000ff) != label) {
                    continue;
                }
                int next = child ^ offset(unit);
                visit(next, units, seen, open, refused);
                if ((unit >> 8 & 1) == 1) {
                    requireReplacement(units[next] & 0x7fffffff, replacements, refused);
                }
            }
        }
    }

    private static void visit(int position, int[] units, BitSet seen, ArrayDeque<Integer> open, Function<String, InputException> refused) {
        if (position < 0 || position >= units.length) {
            throw refused.apply("leads beyond its trie of " + units.length + " units");
        }
        if (!seen.get(position)) {
            seen.set(position);
            open.push(position);
        }
    }

    private static void requireReplacement(int at, byte[] replacements, Function<String, InputException> refused) {
        boolean inside = at < replacements.length && (replacements[at] & 0xc0) != 0x80;
        if (!inside && at != replacements.length) {
            throw refused.apply("names the replacement at byte " + at + ", where none begins");
        }
    }

    private static int offset(int unit) {
        return unit >>> 10 << ((unit & 1 << 9) >> 6);
    }
}
