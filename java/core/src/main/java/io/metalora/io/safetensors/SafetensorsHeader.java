package io.metalora.io.safetensors;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import io.metalora.file.JsonText;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The header of a safetensors file, checked: the tensors cover the data section exactly, each with as many bytes as its
 * shape and type need.
 */
public record SafetensorsHeader(Map<String, Entry> tensors, Map<String, String> metadata) {

    /** The format's own limit. */
    static final long MAX_LENGTH = 100_000_000;

    /** @param begin offset of the first byte, from the start of the data section */
    public record Entry(String dtype, long[] shape, long begin, long end) {}

    /** Bits of one element of each type of the format. */
    private static final Map<String, Integer> BITS = Map.ofEntries(
            Map.entry("BOOL", 8), Map.entry("U8", 8), Map.entry("I8", 8),
            Map.entry("F4", 4), Map.entry("F6_E2M3", 6), Map.entry("F6_E3M2", 6),
            Map.entry("F8_E5M2", 8), Map.entry("F8_E4M3", 8), Map.entry("F8_E8M0", 8),
            Map.entry("F8_E4M3FNUZ", 8), Map.entry("F8_E5M2FNUZ", 8),
            Map.entry("I16", 16), Map.entry("U16", 16), Map.entry("F16", 16), Map.entry("BF16", 16),
            Map.entry("I32", 32), Map.entry("U32", 32), Map.entry("F32", 32),
            Map.entry("I64", 64), Map.entry("U64", 64), Map.entry("F64", 64), Map.entry("C64", 64));

    private static final JsonFactory JSON = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private static final String FETCH_AGAIN = "; the file is damaged: fetch it again";

    /** The runtime's type of that name, or null where it has none. */
    static DType dtype(String name) {
        return switch (name) {
            case "F32" -> DType.F32;
            case "F16" -> DType.F16;
            case "BF16" -> DType.BF16;
            case "F64" -> DType.F64;
            case "I32" -> DType.I32;
            default -> null;
        };
    }

    /** @param dataLength bytes of the file after the header */
    public static SafetensorsHeader parse(Path file, byte[] json, long dataLength) {
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(json)).toString();
        } catch (CharacterCodingException e) {
            throw new InputException(file + ": the header is not UTF-8" + FETCH_AGAIN, e);
        }
        try (JsonParser in = JSON.createParser(text)) {
            var header = new Reader(file, in).header();
            header.checkCoverage(file, dataLength);
            return header;
        } catch (JsonProcessingException e) {
            var at = e.getLocation();
            throw new InputException(file + ": the header is not valid JSON"
                    + (at == null ? "" : " at its byte " + at.getCharOffset()) + ": " + JsonText.problem(e)
                    + FETCH_AGAIN, e);
        } catch (IOException e) {
            throw new InputException(file + ": the header cannot be read: " + FileFailure.reason(e), e);
        }
    }

    private void checkCoverage(Path file, long dataLength) {
        var order = new ArrayList<>(tensors.entrySet());
        order.sort(Comparator.comparingLong((Map.Entry<String, Entry> e) -> e.getValue().begin())
                .thenComparingLong(e -> e.getValue().end()));
        long covered = 0;
        String previous = "the start of the data";
        for (var e : order) {
            Entry entry = e.getValue();
            if (entry.end() > dataLength) {
                throw new InputException(file + ": tensor " + e.getKey() + " lies at data bytes " + entry.begin() + " .. "
                        + entry.end() + ", but the file holds " + dataLength
                        + "; it is truncated: fetch it again");
            }
            if (entry.begin() != covered) {
                throw new InputException(file + ": tensor " + e.getKey() + " begins at data byte " + entry.begin() + ", "
                        + (entry.begin() < covered ? "inside " : "leaving a hole after ") + previous
                        + ", which ends at " + covered + FETCH_AGAIN);
            }
            covered = entry.end();
            previous = "tensor " + e.getKey();
        }
        if (covered != dataLength) {
            throw new InputException(file + ": the tensors end at data byte " + covered + ", but the file holds "
                    + dataLength + FETCH_AGAIN);
        }
    }

    /** Recursive descent over the header's tokens: nothing is kept that the checks do not need. */
    private record Reader(Path file, JsonParser in) {

        SafetensorsHeader header() throws IOException {
            if (in.nextToken() != JsonToken.START_OBJECT) {
                throw new InputException(file + ": the header must be a JSON object" + FETCH_AGAIN);
            }
            var tensors = new TreeMap<String, Entry>();
            Map<String, String> metadata = Map.of();
            while (in.nextToken() != JsonToken.END_OBJECT) {
                String name = in.currentName();
                in.nextToken();
                if (name.equals("__metadata__")) {
                    metadata = metadata();
                } else {
                    tensors.put(name, entry(name));
                }
            }
            if (in.nextToken() != null) {
                throw new InputException(file + ": text follows the header's JSON object" + FETCH_AGAIN);
            }
            return new SafetensorsHeader(tensors, metadata);
        }

        private Map<String, String> metadata() throws IOException {
            if (!in.isExpectedStartObjectToken()) {
                throw new InputException(file + ": __metadata__ must be an object of strings" + FETCH_AGAIN);
            }
            var metadata = new LinkedHashMap<String, String>();
            while (in.nextToken() != JsonToken.END_OBJECT) {
                String key = in.currentName();
                if (in.nextToken() != JsonToken.VALUE_STRING) {
                    throw new InputException(file + ": __metadata__ entry " + key + " must be a string" + FETCH_AGAIN);
                }
                metadata.put(key, in.getText());
            }
            return metadata;
        }

        private Entry entry(String name) throws IOException {
            if (!in.isExpectedStartObjectToken()) {
                throw fail(name, "must be described by an object");
            }
            String dtype = null;
            long[] shape = null;
            long[] offsets = null;
            while (in.nextToken() != JsonToken.END_OBJECT) {
                String key = in.currentName();
                JsonToken value = in.nextToken();
                switch (key) {
                    case "dtype" -> {
                        if (value != JsonToken.VALUE_STRING) {
                            throw fail(name, "has a dtype that is not a string");
                        }
                        dtype = in.getText();
                    }
                    case "shape" -> shape = numbers(name, "shape");
                    case "data_offsets" -> offsets = numbers(name, "data_offsets");
                    default -> throw fail(name, "has an unknown key " + key);
                }
            }
            if (dtype == null || shape == null || offsets == null) {
                throw fail(name, "lacks "
                        + (dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets"));
            }
            return checked(name, dtype, shape, offsets);
        }

        private long[] numbers(String name, String key) throws IOException {
            if (!in.isExpectedStartArrayToken()) {
                throw fail(name, "has a " + key + " that is not a list");
            }
            var out = new long[4];
            int n = 0;
            while (in.nextToken() != JsonToken.END_ARRAY) {
                boolean whole = in.currentToken() == JsonToken.VALUE_NUMBER_INT
                        && in.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
                if (!whole || in.getLongValue() < 0) {
                    throw fail(name, "has " + abbreviated(in.getText()) + " in its " + key
                            + ", which is not a whole number of 0 .. 2^63-1");
                }
                if (n == out.length) {
                    out = Arrays.copyOf(out, 2 * n);
                }
                out[n++] = in.getLongValue();
            }
            return Arrays.copyOf(out, n);
        }

        private Entry checked(String name, String dtype, long[] shape, long[] offsets) {
            Integer bits = BITS.get(dtype);
            if (bits == null) {
                throw new InputException(file + ": tensor " + name + " has the unknown dtype " + abbreviated(dtype)
                        + "; known are " + List.copyOf(new TreeMap<>(BITS).keySet()));
            }
            if (offsets.length != 2) {
                throw fail(name, "has " + offsets.length + " data_offsets instead of 2");
            }
            if (offsets[0] > offsets[1]) {
                throw fail(name, "begins at data byte " + offsets[0] + ", after its end at " + offsets[1]);
            }
            long needed;
            try {
                long total = bits;
                for (long d : shape) {
                    total = Math.multiplyExact(total, d);
                }
                if (total % 8 != 0) {
                    throw fail(name, "does not fill whole bytes: shape " + Arrays.toString(shape) + " of " + dtype);
                }
                needed = total / 8;
            } catch (ArithmeticException e) {
                throw fail(name, "has shape " + Arrays.toString(shape) + ", more than any file can hold");
            }
            if (needed != offsets[1] - offsets[0]) {
                throw fail(name, "has shape " + Arrays.toString(shape) + " of " + dtype + ", which needs " + needed
                        + " bytes, but its data_offsets [" + offsets[0] + ", " + offsets[1] + "] hold "
                        + (offsets[1] - offsets[0]));
            }
            return new Entry(dtype, shape, offsets[0], offsets[1]);
        }

        private InputException fail(String tensor, String problem) {
            return new InputException(file + ": tensor " + abbreviated(tensor) + " " + problem + FETCH_AGAIN);
        }
    }

    private static String abbreviated(String s) {
        return s.length() <= 200 ? s : s.substring(0, 197) + "...";
    }
}
