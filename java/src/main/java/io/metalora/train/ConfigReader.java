package io.metalora.train;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.JsonSerializer;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.type.LogicalType;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import com.fasterxml.jackson.dataformat.yaml.YAMLGenerator;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import io.metalora.adapter.TargetModules;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Backend;
import io.metalora.runtime.InputException;
import io.metalora.task.OverLength;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * YAML to {@link TrainConfig}: the file's tree, then the overrides, are laid over the defaults' tree, each key keeping the
 * place where it was set for messages.
 */
final class ConfigReader {

    private static final ObjectMapper YAML = mapper();
    private static final ObjectNode DEFAULTS = YAML.valueToTree(TrainConfig.DEFAULTS);

    private final ObjectNode tree;
    /** Dotted key to "file:line" or "override ...". */
    private final Map<String, String> places = new HashMap<>();

    private ConfigReader(ObjectNode base) {
        this.tree = base.deepCopy();
    }

    static TrainConfig read(Path file, List<String> overrides) {
        String text;
        try {
            if (!Files.isRegularFile(file)) {
                throw new InputException(file + ": no such file; give the YAML file of a training run");
            }
            text = Files.readString(file);
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + e.getMessage());
        }
        return parse(file.toString(), text, overrides);
    }

    static TrainConfig parse(String name, String yaml, List<String> overrides) {
        var reader = new ConfigReader(DEFAULTS);
        reader.file(name, yaml);
        return reader.overridden(overrides);
    }

    static TrainConfig override(TrainConfig config, List<String> overrides) {
        return new ConfigReader(YAML.valueToTree(config)).overridden(overrides);
    }

    static String toYaml(TrainConfig config) {
        try {
            return YAML.writeValueAsString(config);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Every leaf of the config as dotted key to its value. */
    static Map<String, JsonNode> leaves(TrainConfig config) {
        var leaves = new TreeMap<String, JsonNode>();
        leaves("", YAML.valueToTree(config), leaves);
        return leaves;
    }

    private static void leaves(String prefix, ObjectNode node, Map<String, JsonNode> into) {
        for (var entry : node.properties()) {
            String key = prefix + entry.getKey();
            if (entry.getValue() instanceof ObjectNode child) {
                leaves(key + ".", child, into);
            } else {
                into.put(key, entry.getValue());
            }
        }
    }

    private TrainConfig overridden(List<String> overrides) {
        for (String override : overrides) {
            int equals = override.indexOf('=');
            if (equals < 1) {
                throw new InputException("override \"" + override + "\" is not of the form key=value");
            }
            String key = override.substring(0, equals).strip();
            String place = "override " + override;
            JsonNode value;
            try {
                value = YAML.readTree(override.substring(equals + 1));
            } catch (JsonProcessingException e) {
                throw new InputException(place + ": the value is not YAML: " + e.getOriginalMessage());
            }
            set(DEFAULTS, tree, "", key.split("\\.", -1), value, place);
        }
        TrainConfig config = bind();
        new ConfigCheck(config, this::place).check();
        return config;
    }

    private void set(ObjectNode known, ObjectNode target, String prefix, String[] path, JsonNode value, String place) {
        String name = path[0];
        JsonNode expected = known(known, prefix, name, place);
        String key = prefix + name;
        if (expected instanceof ObjectNode section) {
            if (path.length == 1) {
                throw new InputException(place + ": " + key + " is a section; set one of its keys, as " + key + "."
                        + section.fieldNames().next());
            }
            set(section, (ObjectNode) target.get(name), key + ".", Arrays.copyOfRange(path, 1, path.length), value, place);
            return;
        }
        if (path.length > 1) {
            throw new InputException(place + ": " + key + " is a value, it has no key \"" + path[1] + "\"");
        }
        if ((value.isNull() || value.isMissingNode()) && !expected.isNull()) {
            throw new InputException(place + ": " + key + " has no value");
        }
        target.set(name, value.isMissingNode() ? target.nullNode() : value);
        places.put(key, place);
    }

    private static JsonNode known(ObjectNode known, String prefix, String name, String place) {
        JsonNode expected = known.get(name);
        if (expected == null) {
            var candidates = new ArrayList<String>();
            known.fieldNames().forEachRemaining(candidates::add);
            throw new InputException(place + ": unknown key \"" + prefix + name + "\"; did you mean \""
                    + prefix + Closest.to(name, candidates) + "\"? Known here: " + String.join(", ", candidates));
        }
        return expected;
    }

    // ---- the file: Jackson's events instead of its tree, which would forget the lines

    private void file(String name, String yaml) {
        try (JsonParser parser = YAML.createParser(yaml)) {
            JsonToken first = parser.nextToken();
            if (first == null) {
                return;
            }
            if (first != JsonToken.START_OBJECT) {
                throw new InputException(name + ":" + parser.currentTokenLocation().getLineNr()
                        + ": expected keys and values, as \"model: DIR\"");
            }
            section(parser, name, DEFAULTS, tree, "");
            if (parser.nextToken() != null) {
                throw new InputException(name + ":" + parser.currentTokenLocation().getLineNr()
                        + ": a second document begins; one file holds one config");
            }
        } catch (JsonProcessingException e) {
            int line = e.getLocation() == null ? 1 : e.getLocation().getLineNr();
            throw new InputException(name + ":" + line + ": malformed YAML: " + e.getOriginalMessage().lines().findFirst().orElse(""));
        } catch (IOException e) {
            throw new InputException(name + ": can't be read: " + e.getMessage());
        }
    }

    private void section(JsonParser parser, String file, ObjectNode known, ObjectNode target, String prefix) throws IOException {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String name = parser.currentName();
            String key = prefix + name;
            String place = file + ":" + parser.currentTokenLocation().getLineNr();
            JsonNode expected = known(known, prefix, name, place);
            if (places.putIfAbsent(key, place) != null) {
                throw new InputException(place + ": " + key + " is set a second time; it was set at " + places.get(key));
            }
            JsonToken token = parser.nextToken();
            if (expected instanceof ObjectNode child) {
                if (token == JsonToken.START_OBJECT) {
                    section(parser, file, child, (ObjectNode) target.get(name), key + ".");
                } else if (token != JsonToken.VALUE_NULL && !parser.getText().isEmpty()) {
                    throw new InputException(place + ": " + key + " is a section with keys of its own, not a value");
                }
            } else if (token == JsonToken.VALUE_NULL || token == JsonToken.VALUE_STRING && parser.getText().isEmpty()) {
                if (!expected.isNull()) {
                    throw new InputException(place + ": " + key + " has no value");
                }
                target.set(name, target.nullNode());
            } else {
                target.set(name, value(parser, place, key));
            }
        }
    }

    private static JsonNode value(JsonParser parser, String place, String key) throws IOException {
        return switch (parser.currentToken()) {
            case START_OBJECT -> throw new InputException(place + ": " + key + " is a value, it has no keys of its own");
            case START_ARRAY -> {
                ArrayNode array = YAML.createArrayNode();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    array.add(value(parser, place, key));
                }
                yield array;
            }
            default -> parser.readValueAsTree();
        };
    }

    // ---- tree to record

    private TrainConfig bind() {
        try {
            return YAML.treeToValue(tree, TrainConfig.class);
        } catch (JsonMappingException e) {
            List<String> path = e.getPath().stream().map(JsonMappingException.Reference::getFieldName)
                    .filter(Objects::nonNull).toList();
            String key = String.join(".", path);
            String reason = e.getCause() instanceof InputException input ? input.getMessage()
                    : "expected " + expected(e) + ", but is " + tree.at("/" + String.join("/", path));
            throw new InputException(place(key) + ": " + key + ": " + reason);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What the key's type takes, in words. */
    private static String expected(JsonMappingException e) {
        Class<?> type = e instanceof MismatchedInputException mismatch && mismatch.getTargetType() != null
                ? mismatch.getTargetType() : Object.class;
        if (type == int.class || type == long.class) {
            return "a whole number";
        }
        if (type == float.class || type == double.class) {
            return "a number";
        }
        return type == boolean.class ? "true or false" : "a list of names";
    }

    /** Where a key was set. */
    private String place(String key) {
        String place = places.get(key);
        return place == null ? "config" : place;
    }

    // ---- mapper

    private static ObjectMapper mapper() {
        var module = new SimpleModule();
        module.addSerializer(Path.class, new JsonSerializer<>() {
            @Override
            public void serialize(Path path, JsonGenerator out, SerializerProvider provider) throws IOException {
                out.writeString(path.toString());
            }
        });
        module.addDeserializer(Path.class, new JsonDeserializer<>() {
            @Override
            public Path deserialize(JsonParser in, DeserializationContext context) throws IOException {
                String text = in.getValueAsString();
                if (text == null || text.isEmpty()) {
                    throw new InputException("expected a path");
                }
                return Path.of(text);
            }
        });
        module.addSerializer(TargetModules.class, new JsonSerializer<>() {
            @Override
            public void serialize(TargetModules targets, JsonGenerator out, SerializerProvider provider) throws IOException {
                switch (targets) {
                    case TargetModules.AllLinear all -> out.writeString(TargetModules.ALL_LINEAR);
                    case TargetModules.Regex regex -> out.writeString(regex.expression());
                    case TargetModules.Names list -> provider.defaultSerializeValue(list.names(), out);
                }
            }
        });
        module.addDeserializer(TargetModules.class, new JsonDeserializer<>() {
            @Override
            public TargetModules deserialize(JsonParser in, DeserializationContext context) throws IOException {
                return in.currentToken() == JsonToken.START_ARRAY
                        ? TargetModules.of(List.of(in.readValueAs(String[].class)))
                        : TargetModules.ofString(in.getText());
            }
        });
        named(module, Method.class);
        named(module, InnerOptimizer.class);
        named(module, Schedule.class);
        named(module, Backend.class);
        named(module, WeightStorage.class);
        named(module, OverLength.class);
        var mapper = YAMLMapper.builder(YAMLFactory.builder()
                        .disable(YAMLGenerator.Feature.WRITE_DOC_START_MARKER)
                        .enable(YAMLGenerator.Feature.MINIMIZE_QUOTES)
                        .build())
                .addModule(module)
                .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
                .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
                .build();
        for (LogicalType type : List.of(LogicalType.Integer, LogicalType.Float, LogicalType.Boolean)) {
            mapper.coercionConfigFor(type).setCoercion(CoercionInputShape.EmptyString, CoercionAction.Fail);
        }
        mapper.coercionConfigFor(LogicalType.Boolean).setCoercion(CoercionInputShape.Integer, CoercionAction.Fail);
        return mapper;
    }

    /** An enum as its lower-case name with dashes. */
    private static <E extends Enum<E>> void named(SimpleModule module, Class<E> type) {
        module.addSerializer(type, new JsonSerializer<>() {
            @Override
            public void serialize(E value, JsonGenerator out, SerializerProvider provider) throws IOException {
                out.writeString(name(value));
            }
        });
        module.addDeserializer(type, new JsonDeserializer<>() {
            @Override
            public E deserialize(JsonParser in, DeserializationContext context) throws IOException {
                String text = in.getValueAsString();
                for (E value : type.getEnumConstants()) {
                    if (name(value).equals(text)) {
                        return value;
                    }
                }
                throw new InputException("\"" + text + "\" is not one of "
                        + Arrays.stream(type.getEnumConstants()).map(ConfigReader::name).collect(Collectors.joining(", ")));
            }
        });
    }

    private static String name(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}
