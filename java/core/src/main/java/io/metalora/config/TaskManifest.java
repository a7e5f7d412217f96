package io.metalora.config;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.task.Columns;
import io.metalora.task.PromptTemplate;
import io.metalora.task.ReadOptions;
import io.metalora.task.TaskFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A YAML file that names tasks: each with its files by split, and where they need it columns, or texts that their records fill
 * in. Paths are relative to the manifest's folder.
 */
final class TaskManifest {

    private static final List<String> SPLITS = List.of("train", "dev", "test");
    private static final List<String> KEYS = List.of("train", "dev", "test", "columns", "prompt", "completion");
    private static final List<String> COLUMNS = List.of("prompt", "completion", "messages", "instruction", "input", "output");
    private static final int MOST_NAMES = 20;

    private final Path file;
    private final ReadOptions options;

    private TaskManifest(Path file, ReadOptions options) {
        this.file = file;
        this.options = options;
    }

    static List<TaskFiles> read(Path file, Collection<String> names, ReadOptions options) {
        return new TaskManifest(file, options).read(names);
    }

    private List<TaskFiles> read(Collection<String> names) {
        Yaml.Node root = Yaml.parse(line -> file + ":" + line, ConfigFile.read(file))
                .orElseThrow(() -> new InputException(file + ": names no task; expected a task's name with its files, as \"NAME: {train: FILE}\""));
        var tasks = new LinkedHashMap<String, TaskFiles>();
        for (Yaml.Entry entry : mapping(root, "the manifest")) {
            if (names.isEmpty() || names.contains(entry.key())) {
                tasks.put(entry.key(), task(entry));
            }
        }
        for (String name : names) {
            if (!tasks.containsKey(name)) {
                throw new InputException(file + ": names no task " + Shown.quoted(name) + "; it has " + Shown.first(mapping(root, "the manifest").stream()
                        .map(entry -> Shown.plain(entry.key())).toList(), MOST_NAMES));
            }
        }
        return List.copyOf(tasks.values());
    }

    private TaskFiles task(Yaml.Entry task) {
        String name = task.key();
        if (name.isBlank() || name.startsWith(".") || name.contains("/")) { // a run makes a folder of this name
            throw fail(task.line(), Shown.quoted(name) + " can't be the name of a task: it must not begin with a dot or hold a slash");
        }
        var files = new HashMap<String, List<Path>>();
        var texts = new HashMap<String, String>();
        Columns columns = options.columns();
        Yaml.Entry ofColumns = null;
        for (Yaml.Entry entry : mapping(task.value(), "task " + Shown.quoted(name))) {
            String key = entry.key();
            if (SPLITS.contains(key)) {
                files.put(key, files(entry));
            } else if (key.equals("columns")) {
                columns = columns(entry);
                ofColumns = entry;
            } else if (KEYS.contains(key)) {
                texts.put(key, text(entry));
            } else {
                throw unknown(entry, KEYS);
            }
        }
        if (files.isEmpty()) {
            throw fail(task.line(), "task " + Shown.quoted(name) + " has no files; give it one of train, dev and test");
        }
        if (texts.size() == 1) {
            throw fail(task.line(), "task " + Shown.quoted(name) + " has a text for the " + texts.keySet().iterator().next()
                    + " alone; give it both, prompt and completion");
        }
        if (!texts.isEmpty() && ofColumns != null) {
            throw fail(ofColumns.line(), "task " + Shown.quoted(name) + " has columns beside texts that name theirs; keep one of the two");
        }
        return new TaskFiles(name, files.getOrDefault("train", List.of()), files.getOrDefault("dev", List.of()), files.getOrDefault("test", List.of()),
                new ReadOptions(columns, options.template(), texts.isEmpty() ? null : new PromptTemplate(texts.get("prompt"), texts.get("completion"))));
    }

    private List<Path> files(Yaml.Entry split) {
        var paths = new ArrayList<Path>();
        for (Yaml.Node node : split.value() instanceof Yaml.Sequence list ? list.items() : List.of(split.value())) {
            if (!(node instanceof Yaml.Scalar scalar) || scalar.isNull()) {
                throw fail(node.line(), split.key() + " must be a file, or a list of files");
            }
            Path path = file.toAbsolutePath().resolveSibling((Path) value(Path.class, scalar, split.key()));
            if (!Files.exists(path)) {
                throw fail(scalar.line(), split.key() + ": " + path + ": no such file; paths are relative to the manifest's folder");
            }
            paths.add(path);
        }
        return paths;
    }

    private Columns columns(Yaml.Entry section) {
        Map<String, String> names = new HashMap<>();
        for (Yaml.Entry entry : mapping(section.value(), "columns")) {
            if (!COLUMNS.contains(entry.key())) {
                throw unknown(entry, COLUMNS);
            }
            names.put(entry.key(), text(entry));
        }
        var columns = new Columns(names.get("prompt"), names.get("completion"), names.get("messages"), names.get("instruction"), names.get("input"),
                names.get("output"));
        if (columns.contradictory()) {
            throw fail(section.line(), "columns of several forms; name those of one: prompt and completion, or messages, or instruction, input and "
                    + "output");
        }
        return columns;
    }

    private String text(Yaml.Entry entry) {
        if (!(entry.value() instanceof Yaml.Scalar scalar) || scalar.isNull()) {
            throw fail(entry.line(), entry.key() + " must be a text");
        }
        return scalar.text();
    }

    private Object value(Class<?> type, Yaml.Scalar scalar, String key) {
        try {
            return ConfigValues.read(type, scalar);
        } catch (InputException e) {
            throw fail(scalar.line(), key + ": " + e.getMessage());
        }
    }

    /** The entries of a section, each key once. */
    private List<Yaml.Entry> mapping(Yaml.Node node, String what) {
        if (!(node instanceof Yaml.Mapping mapping)) {
            throw fail(node.line(), what + " must have keys, as \"train: FILE\"");
        }
        var seen = new HashSet<String>();
        for (Yaml.Entry entry : mapping.entries()) {
            if (!seen.add(entry.key())) {
                throw fail(entry.line(), Shown.quoted(entry.key()) + " is there a second time");
            }
        }
        return mapping.entries();
    }

    private InputException unknown(Yaml.Entry entry, List<String> known) {
        return fail(entry.line(), "unknown key " + Shown.quoted(entry.key()) + "; did you mean \"" + Closest.to(entry.key(), known) + "\"? Known here: "
                + String.join(", ", known));
    }

    private InputException fail(int line, String what) {
        return new InputException(file + ":" + line + ": " + what);
    }
}
