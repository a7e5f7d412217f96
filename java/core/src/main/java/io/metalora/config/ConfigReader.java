package io.metalora.config;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * YAML to {@link TrainConfig}: the file's values, then the overrides, are laid over the defaults, each key keeping the
 * place where it was set for messages. The keys are the components of the records: a record is a section.
 */
final class ConfigReader {

    private static final Map<String, Object> DEFAULTS = leaves(TrainConfig.DEFAULTS);

    /** Dotted key to value. */
    private final Map<String, Object> values;
    /** Dotted key to "file:line" or "override ...". */
    private final Map<String, String> places = new HashMap<>();

    private ConfigReader(Map<String, Object> base) {
        this.values = new LinkedHashMap<>(base);
    }

    static TrainConfig read(Path file, List<String> overrides) {
        return parse(file.toString(), ConfigFile.read(file), overrides);
    }

    static TrainConfig parse(String name, String yaml, List<String> overrides) {
        var reader = new ConfigReader(DEFAULTS);
        Yaml.parse(line -> name + ":" + line, yaml).ifPresent(root -> {
            if (!(root instanceof Yaml.Mapping mapping)) {
                throw new InputException(name + ":" + root.line() + ": expected keys and values, as \"model: DIR\"");
            }
            reader.section(mapping, name, TrainConfig.class, "");
        });
        return reader.overridden(overrides);
    }

    static TrainConfig override(TrainConfig config, List<String> overrides) {
        return new ConfigReader(leaves(config)).overridden(overrides);
    }

    // ---- the file

    private void section(Yaml.Mapping mapping, String file, Class<?> section, String prefix) {
        for (Yaml.Entry entry : mapping.entries()) {
            String place = file + ":" + entry.line();
            RecordComponent known = known(section, prefix, entry.key(), place);
            String key = prefix + entry.key();
            String before = places.putIfAbsent(key, place);
            if (before != null) {
                throw new InputException(place + ": " + key + " is set a second time; it was set at " + before);
            }
            if (!known.getType().isRecord()) {
                set(known, key, entry.value(), place);
            } else if (entry.value() instanceof Yaml.Mapping child) {
                section(child, file, known.getType(), key + ".");
            } else if (!(entry.value() instanceof Yaml.Scalar scalar && scalar.isNull())) {
                throw new InputException(place + ": " + key + " is a section with keys of its own, not a value");
            }
        }
    }

    // ---- overrides

    private TrainConfig overridden(List<String> overrides) {
        overrides.forEach(this::override);
        try {
            return build(TrainConfig.class, "", values);
        } catch (ConfigCheck.Refusal e) {
            throw e.at(key -> places.getOrDefault(key, "config"));
        }
    }

    private void override(String override) {
        int equals = override.indexOf('=');
        if (equals < 1) {
            throw new InputException("override " + Shown.quoted(override) + " is not of the form key=value");
        }
        String place = "override " + Shown.plain(override);
        String[] path = override.substring(0, equals).strip().split("\\.", -1);
        Class<?> section = TrainConfig.class;
        String prefix = "";
        for (int i = 0; ; i++) {
            RecordComponent known = known(section, prefix, path[i], place);
            String key = prefix + path[i];
            boolean last = i + 1 == path.length;
            if (known.getType().isRecord() && last) {
                throw new InputException(place + ": " + key + " is a section; set one of its keys, as " + key + "."
                        + name(known.getType().getRecordComponents()[0]));
            }
            if (!known.getType().isRecord()) {
                if (!last) {
                    throw new InputException(place + ": " + key + " is a value, it has no key " + Shown.quoted(path[i + 1]));
                }
                set(known, key, node(known.getType(), override.substring(equals + 1), place), place);
                return;
            }
            section = known.getType();
            prefix = key + ".";
        }
    }

    /** The text as it stands, but for quoted ones and lists, which are YAML. */
    private static Yaml.Node node(Class<?> type, String text, String place) {
        String begin = text.stripLeading();
        if (begin.startsWith("\"") || begin.startsWith("'") || begin.startsWith("[") && ConfigValues.takesLists(type)) {
            return Yaml.parse(line -> place, text).orElseThrow();
        }
        return new Yaml.Scalar(text, true, 1);
    }

    // ---- keys

    private void set(RecordComponent known, String key, Yaml.Node node, String place) {
        if (node instanceof Yaml.Mapping) {
            throw new InputException(place + ": " + key + " is a value, it has no keys of its own");
        }
        Object value = null;
        if (!(node instanceof Yaml.Scalar scalar && scalar.isNull())) {
            try {
                value = ConfigValues.read(known.getType(), node);
            } catch (InputException e) {
                throw new InputException(place + ": " + key + ": " + e.getMessage(), e);
            }
        } else if (DEFAULTS.get(key) != null) {
            throw new InputException(place + ": " + key + " has no value");
        }
        values.put(key, value);
        places.put(key, place);
    }

    private static RecordComponent known(Class<?> section, String prefix, String key, String place) {
        List<String> known = Arrays.stream(section.getRecordComponents()).map(ConfigReader::name).toList();
        int index = known.indexOf(key);
        if (index < 0) {
            throw new InputException(place + ": unknown key " + Shown.quoted(prefix + key) + "; did you mean \"" + prefix
                    + Closest.to(key, known) + "\"? Known here: " + String.join(", ", known));
        }
        return section.getRecordComponents()[index];
    }

    /** samplesPerTask is samples_per_task. */
    private static String name(RecordComponent component) {
        return component.getName().replaceAll("(?=[A-Z])", "_").toLowerCase(Locale.ROOT);
    }

    // ---- records

    /** Every leaf of the config as dotted key to its value, in the order of the records. */
    static Map<String, Object> leaves(TrainConfig config) {
        var leaves = new LinkedHashMap<String, Object>();
        leaves("", config, leaves);
        return leaves;
    }

    private static void leaves(String prefix, Record section, Map<String, Object> into) {
        for (RecordComponent component : section.getClass().getRecordComponents()) {
            String key = prefix + name(component);
            Object value = value(section, component);
            if (value instanceof Record child && component.getType().isRecord()) {
                leaves(key + ".", child, into);
            } else {
                into.put(key, value);
            }
        }
    }

    private static Object value(Record section, RecordComponent component) {
        try {
            return component.getAccessor().invoke(section);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static <R> R build(Class<R> section, String prefix, Map<String, Object> values) {
        RecordComponent[] components = section.getRecordComponents();
        Object[] arguments = Arrays.stream(components).map(component -> {
            String key = prefix + name(component);
            return component.getType().isRecord() ? build(component.getType(), key + ".", values) : values.get(key);
        }).toArray();
        try {
            Class<?>[] types = Arrays.stream(components).map(RecordComponent::getType).toArray(Class<?>[]::new);
            return section.getDeclaredConstructor(types).newInstance(arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause() instanceof RuntimeException refusal ? refusal : new IllegalStateException(e);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    // ---- writing

    /** The whole config; {@link #parse} gives the same again. */
    static String toYaml(TrainConfig config) {
        var out = new StringBuilder();
        write(config, "", out);
        return out.toString();
    }

    private static void write(Record section, String indent, StringBuilder out) {
        for (RecordComponent component : section.getClass().getRecordComponents()) {
            Object value = value(section, component);
            out.append(indent).append(name(component)).append(':');
            if (value instanceof Record child && component.getType().isRecord()) {
                out.append('\n');
                write(child, indent + "  ", out);
            } else {
                String text = ConfigValues.write(value, indent);
                out.append(text.startsWith("\n") ? "" : " ").append(text).append('\n');
            }
        }
    }
}
