package io.metalora.file;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * A JSON object of a configuration file, read strictly: every failure is an InputException that names file and key.
 * A key whose value is null counts as absent, as the Python tools write it.
 */
public final class JsonObject {
    /** Configurations and shard indices stay far below; beyond it the file is something else. */
    private static final long MAX_BYTES = 64L << 20;

    private static final JsonMapper MAPPER = JsonMapper.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS) // Python's json writes Infinity and NaN
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private final Path file;
    private final String prefix; // of nested keys: "rope_scaling."
    private final ObjectNode node;

    private JsonObject(Path file, String prefix, ObjectNode node) {
        this.file = file;
        this.prefix = prefix;
        this.node = node;
    }

    /** Reads {@code file}, whose root must be an object. */
    public static JsonObject read(Path file) {
        return parse(file, JsonText.read(file, MAX_BYTES, "a JSON configuration"));
    }

    public static JsonObject parse(Path file, byte[] bytes) {
        String text = new String(JsonText.utf8(file.toString(), bytes), StandardCharsets.UTF_8);
        JsonNode root;
        try (JsonParser parser = MAPPER.createParser(text)) {
            root = MAPPER.readValue(parser, JsonNode.class);
        } catch (JsonProcessingException e) {
            throw new InputException(file + JsonText.place(e) + ": malformed JSON: " + JsonText.problem(e)
                    + "; repair the file or fetch it again", e);
        } catch (IOException e) {
            throw new InputException(file + " cannot be read: " + FileFailure.reason(e), e);
        }
        if (!(root instanceof ObjectNode object)) {
            String kind = root == null || root.isMissingNode() ? "nothing" : root.getNodeType().toString().toLowerCase();
            throw new InputException(file + " must hold one JSON object, but holds " + kind);
        }
        return new JsonObject(file, "", object);
    }

    public Path file() {
        return file;
    }

    /** All keys, also those whose value is null, in the file's order. */
    public Set<String> keys() {
        var keys = new java.util.LinkedHashSet<String>();
        node.fieldNames().forEachRemaining(keys::add);
        return keys;
    }

    /** Whether {@code key} is there with a value other than null. */
    public boolean has(String key) {
        return node.hasNonNull(key);
    }

    /** Whether {@code key} holds something other than null, false, "" , 0 and an empty list or object. */
    public boolean isSet(String key) {
        JsonNode v = node.path(key);
        return switch (v.getNodeType()) {
            case MISSING, NULL -> false;
            case BOOLEAN -> v.booleanValue();
            case STRING -> !v.textValue().isEmpty();
            case ARRAY, OBJECT -> !v.isEmpty();
            case NUMBER -> v.doubleValue() != 0;
            default -> true;
        };
    }

    public boolean isString(String key) {
        return node.path(key).isTextual();
    }

    public boolean isList(String key) {
        return node.path(key).isArray();
    }

    public boolean isObject(String key) {
        return node.path(key).isObject();
    }

    /** A whole number of [{@code min}, {@code max}]; the key must be there. */
    public int integer(String key, int min, int max) {
        JsonNode v = required(key);
        // 2.0 is whole; 2.5, "2" and true are not numbers a Python tool writes for a size.
        if (!v.isNumber() || v.doubleValue() != Math.rint(v.doubleValue())) {
            throw fail(key, "is " + brief(v) + ", but must be a whole number");
        }
        if (v.doubleValue() < min || v.doubleValue() > max) {
            throw fail(key, "is " + brief(v) + ", but must lie in " + min + " .. " + max);
        }
        return (int) v.doubleValue();
    }

    public int integer(String key, int min, int max, int absent) {
        return has(key) ? integer(key, min, max) : absent;
    }

    /** A finite number; the key must be there. */
    public double number(String key) {
        JsonNode v = required(key);
        if (!v.isNumber() || !Double.isFinite(v.doubleValue())) {
            throw fail(key, "is " + brief(v) + ", but must be a finite number");
        }
        return v.doubleValue();
    }

    public double number(String key, double absent) {
        return has(key) ? number(key) : absent;
    }

    /** A number above 0 that a float holds, since that is what is computed with; the key must be there. */
    public double positive(String key) {
        double v = number(key);
        if (!(v > 0)) {
            throw fail(key, "is " + v + ", but must be above 0");
        }
        if (v < Float.MIN_NORMAL || v > Float.MAX_VALUE) {
            throw fail(key, "is " + v + ", but must be a number that a 32-bit float holds (1.2e-38 to 3.4e38)");
        }
        return v;
    }

    public boolean flag(String key, boolean absent) {
        if (!has(key)) {
            return absent;
        }
        JsonNode v = node.get(key);
        if (!v.isBoolean()) {
            throw fail(key, "is " + brief(v) + ", but must be true or false");
        }
        return v.booleanValue();
    }

    public String string(String key) {
        JsonNode v = required(key);
        if (!v.isTextual()) {
            throw fail(key, "is " + brief(v) + ", but must be a string");
        }
        return v.textValue();
    }

    public String string(String key, String absent) {
        return has(key) ? string(key) : absent;
    }

    /** A list of strings; the key must be there. */
    public List<String> strings(String key) {
        var out = new ArrayList<String>();
        for (JsonNode v : list(key)) {
            if (!v.isTextual()) {
                throw fail(key, "holds " + brief(v) + ", but must be a list of strings");
            }
            out.add(v.textValue());
        }
        return List.copyOf(out);
    }

    /** A number or a list of numbers of [{@code min}, {@code max}]; empty when the key is absent. */
    public int[] integers(String key, int min, int max) {
        if (!has(key)) {
            return new int[0];
        }
        if (!isList(key)) {
            return new int[] {integer(key, min, max)};
        }
        JsonNode values = node.get(key);
        var out = new int[values.size()];
        for (int i = 0; i < out.length; i++) {
            JsonNode v = values.get(i);
            if (!v.isIntegralNumber() || v.doubleValue() < min || v.doubleValue() > max) {
                throw fail(key, "holds " + brief(v) + ", but must hold whole numbers of " + min + " .. " + max);
            }
            out[i] = v.intValue();
        }
        return out;
    }

    /** The object under {@code key}; empty when the key is absent. */
    public Optional<JsonObject> object(String key) {
        if (!has(key)) {
            return Optional.empty();
        }
        if (!(node.get(key) instanceof ObjectNode object)) {
            throw fail(key, "is " + brief(node.get(key)) + ", but must be an object");
        }
        return Optional.of(new JsonObject(file, prefix + key + ".", object));
    }

    /** A list of objects; the key must be there. */
    public List<JsonObject> objects(String key) {
        var out = new ArrayList<JsonObject>();
        for (JsonNode v : list(key)) {
            if (!(v instanceof ObjectNode object)) {
                throw fail(key, "holds " + brief(v) + ", but must be a list of objects");
            }
            out.add(new JsonObject(file, prefix + key + "[" + out.size() + "].", object));
        }
        return List.copyOf(out);
    }

    /** Shortened for a message; "absent" where it is. */
    public String describe(String key) {
        return node.has(key) ? brief(node.get(key)) : "absent";
    }

    /** An exception about {@code key}: {@code "FILE: KEY PROBLEM"}. */
    public InputException fail(String key, String problem) {
        return new InputException(file + ": " + prefix + key + " " + problem);
    }

    private JsonNode list(String key) {
        JsonNode v = required(key);
        if (!v.isArray()) {
            throw fail(key, "is " + brief(v) + ", but must be a list");
        }
        return v;
    }

    private JsonNode required(String key) {
        if (!has(key)) {
            throw fail(key, "is missing; the keys there are " + new TreeSet<>(keys()));
        }
        return node.get(key);
    }

    private static String brief(JsonNode v) {
        String s = v.toString();
        return s.length() <= 80 ? s : s.substring(0, 77) + "...";
    }
}
