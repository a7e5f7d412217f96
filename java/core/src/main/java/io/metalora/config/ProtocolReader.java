package io.metalora.config;

import io.metalora.adapter.AdapterPart;
import io.metalora.config.Protocol.Adaptation;
import io.metalora.config.Protocol.Arm;
import io.metalora.config.Protocol.FineTune;
import io.metalora.config.Protocol.On;
import io.metalora.config.Protocol.Question;
import io.metalora.config.Protocol.Row;
import io.metalora.config.Protocol.Source;
import io.metalora.config.Protocol.Tasks;
import io.metalora.config.Protocol.Trial;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** YAML to {@link Protocol}; every message names file, line and key. */
final class ProtocolReader {

    /** Arms name folders and files. */
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}");
    /** What a comparison sets itself. */
    private static final Set<String> OWN = Set.of("model", "output", "seed", "data.folder", "data.names", "data.split.dev", "data.split.test", "data.thinking",
            "adapter.init", "meta.replay");
    private static final Set<String> MACHINE = Set.of("compute.backend", "compute.threads", "compute.isa", "compute.arithmetic");
    /** The section of what all arms have in common. */
    private static final String FOR_ALL = "settings";
    private static final String ALL = "all";
    private static final String ADAPT = "adapt.";
    private static final String TUNING_SEED = "tuning_seed";
    /** The keys of {@link FineTune}. */
    private static final List<String> FINE_TUNE = List.of("epochs", "steps", "batch_size", "lr", "optimizer", "adapts");
    private static final FineTune DEFAULTS = new FineTune(20, 0, 8, 2e-3, InnerOptimizer.ADAMW, AdapterPart.ALL);

    private final String file;

    private ProtocolReader(String file) {
        this.file = file;
    }

    static Protocol parse(String file, String yaml) {
        Yaml.Node root = Yaml.parse(line -> file + ":" + line, yaml).orElseThrow(() -> new InputException(
                file + ": is empty; a protocol has model, tasks, seeds and arms"));
        return new ProtocolReader(file).protocol(root);
    }

    /** The keys of a section that are set, each known and set once. */
    private final class Section {

        private final String name;
        private final int line;
        private final Map<String, Yaml.Entry> entries = new LinkedHashMap<>();

        Section(String name, Yaml.Node node, String... known) {
            this.name = name;
            this.line = node.line();
            if (!(node instanceof Yaml.Mapping mapping)) {
                throw fail(node.line(), (name.isEmpty() ? "a protocol" : name) + " is a section with keys of its own: "
                        + (known.length == 0 ? "one for each arm" : String.join(", ", known)));
            }
            for (Yaml.Entry entry : mapping.entries()) {
                if (known.length > 0 && !List.of(known).contains(entry.key())) {
                    throw fail(entry.line(), "unknown key " + Shown.quoted(key(entry.key())) + "; did you mean \""
                            + key(Closest.to(entry.key(), List.of(known))) + "\"? Known here: " + String.join(", ", known));
                }
                Yaml.Entry before = entries.putIfAbsent(entry.key(), entry);
                if (before != null) {
                    throw fail(entry.line(), key(entry.key()) + " is set a second time; it was set at line " + before.line());
                }
            }
        }

        String key(String of) {
            return name.isEmpty() ? of : name + "." + of;
        }

        Optional<Yaml.Node> get(String key) {
            return Optional.ofNullable(entries.get(key)).map(Yaml.Entry::value)
                    .filter(node -> !(node instanceof Yaml.Scalar scalar && scalar.isNull()));
        }

        Yaml.Node require(String key, String what) {
            return get(key).orElseThrow(() -> fail(line, key(key) + " is missing: " + what));
        }

        <T> T value(String key, Class<T> boxed, Class<?> type, T otherwise) {
            return get(key).map(node -> boxed.cast(read(type, node, key(key)))).orElse(otherwise);
        }

        String text(String key, String otherwise) {
            return value(key, String.class, String.class, otherwise);
        }

        String folder(String key, String otherwise) {
            return get(key).map(node -> ProtocolReader.this.folder(node, key(key))).orElse(otherwise);
        }

        int whole(String key, int otherwise, int least) {
            int value = value(key, Integer.class, int.class, otherwise);
            if (value < least) {
                throw fail(entries.get(key).line(), key(key) + " is " + value + ", but must be at least " + least);
            }
            return value;
        }

        /** A number of samples or items, or {@code all}, which is 0. */
        int count(String key, int otherwise) {
            return get(key).map(node -> ProtocolReader.this.count(node, key(key))).orElse(otherwise);
        }

        double number(String key, double otherwise) {
            return value(key, Double.class, double.class, otherwise);
        }

        <T> List<T> list(String key, Function<Yaml.Node, T> item) {
            return get(key).map(node -> items(node, key(key)).stream().map(item).toList()).orElse(List.of());
        }

        List<String> names(String key) {
            return list(key, node -> (String) read(String.class, node, key(key)));
        }
    }

    private Protocol protocol(Yaml.Node root) {
        var top = new Section("", root, "title", "model", "tasks", "seeds", TUNING_SEED, "trials", "margin", "settings", "arms", "questions");
        String model = folder(top.require("model", "the folder of the base model, or " + Protocol.EMBEDDED), "model");
        Tasks tasks = tasks(new Section("tasks", top.require("tasks", "what is trained on, and what is held out"), "trained", "trained_names",
                "unseen", "unseen_names", "tuning", "tuning_names", "dev_from_train", "dev_items", "test_items"));
        Yaml.Node seedsNode = top.require("seeds", "a list such as [1, 2, 3]");
        List<Long> seeds = seeds(seedsNode, "seeds", items(seedsNode, "seeds"));
        List<Long> tuningSeeds = top.get(TUNING_SEED).map(node -> seeds(node, TUNING_SEED, node instanceof Yaml.Sequence list ? list.items()
                : List.of(node))).orElse(List.of(0L));
        seeds.stream().filter(tuningSeeds::contains).findFirst().ifPresent(both -> {
            throw fail(seedsNode.line(), "seeds holds tuning_seed, " + both + ": what was tuned with a seed is not to be reported with it; take "
                    + "another one for either");
        });
        int trials = top.whole("trials", 1, 1);
        double margin = margin(top, 0);
        Map<String, String> settings = settings(top.get(FOR_ALL), FOR_ALL);
        var armsSection = new Section("arms", top.require("arms", "what is compared"));
        var arms = new LinkedHashMap<String, Arm>();
        for (Yaml.Entry entry : armsSection.entries.values()) {
            if (!NAME.matcher(entry.key()).matches()) {
                throw fail(entry.line(), "the arm " + Shown.quoted(entry.key()) + ": a name is up to 64 letters, digits, - _ and ., the first a "
                        + "letter or digit; a label can be anything");
            }
            if (arms.keySet().stream().anyMatch(name -> name.equalsIgnoreCase(entry.key()))) {
                throw fail(entry.line(), "the arm " + entry.key() + " is named as another, which makes one folder of both on some file systems");
            }
            arms.put(entry.key(), arm(entry, tasks, settings, trials));
        }
        if (arms.isEmpty()) {
            throw fail(armsSection.line, "arms is empty; there is nothing to compare");
        }
        List<Question> questions = top.list("questions", node -> question(node, arms, margin));
        return new Protocol(top.text("title", file), model, tasks, seeds, tuningSeeds, trials, margin, arms, questions);
    }

    private List<Long> seeds(Yaml.Node node, String key, List<Yaml.Node> items) {
        List<Long> seeds = items.stream().map(item -> (Long) read(long.class, item, key)).toList();
        if (seeds.isEmpty() || new HashSet<>(seeds).size() < seeds.size()) {
            throw fail(node.line(), key + (seeds.isEmpty() ? " is an empty list; give one at least" : " holds a seed twice"));
        }
        return seeds;
    }

    private double margin(Section section, double otherwise) {
        double margin = section.number("margin", otherwise);
        if (!(margin >= 0 && margin < 100)) {
            throw fail(section.entries.get("margin").line(), section.key("margin") + " is " + margin + ", but is in points of accuracy, from 0 to 100");
        }
        return margin;
    }

    private Tasks tasks(Section section) {
        String folder = folder(section.require("trained", "the folder of the tasks that are trained on"), "tasks.trained");
        var trained = new Source(folder, section.names("trained_names"));
        List<String> unseenNames = section.names("unseen_names");
        String unseenFolder = section.folder("unseen", unseenNames.isEmpty() ? null : folder);
        String tuningFolder = section.folder("tuning", section.names("tuning_names").isEmpty() ? null : folder);
        if (folder.equals(unseenFolder) && (unseenNames.isEmpty() || trained.names().isEmpty())) {
            throw fail(section.line, "tasks.trained and tasks.unseen are the same folder; say with trained_names and unseen_names which are which");
        }
        if (tuningFolder != null && unseenFolder == null) {
            throw fail(section.line, "tasks.tuning chooses the settings for unseen tasks, but there is no tasks.unseen; set it, or leave tuning out");
        }
        return new Tasks(trained, Optional.ofNullable(unseenFolder).map(of -> new Source(of, unseenNames)),
                Optional.ofNullable(tuningFolder).map(of -> new Source(of, section.names("tuning_names"))), section.whole("dev_from_train", 0, 0),
                section.count("dev_items", 0), section.count("test_items", 0));
    }

    private Arm arm(Yaml.Entry entry, Tasks tasks, Map<String, String> common, int trials) {
        String name = entry.key();
        String key = "arms." + name;
        // An arm with nothing set is the base model.
        Yaml.Node node = entry.value() instanceof Yaml.Scalar scalar && scalar.isNull() ? new Yaml.Mapping(List.of(), entry.line()) : entry.value();
        var section = new Section(key, node, "label", "shots", "train", "track", "adapt", "on", "grid");
        int shots = section.whole("shots", 0, 0);
        boolean trains = section.entries.containsKey("train");
        Optional<Section> adapts = Optional.ofNullable(section.entries.get("adapt")).map(of -> new Section(key + ".adapt", of.value(),
                Stream.concat(Stream.of("samples", "choose_at"), FINE_TUNE.stream()).toArray(String[]::new)));
        if (shots > 0 && (trains || adapts.isPresent())) {
            throw fail(section.line, key + ": shots are samples in the prompt of the base model; an arm that trains or adapts has none");
        }
        int track = section.whole("track", 0, 0);
        if (track > 0 && !trains) {
            throw fail(section.entries.get("track").line(), section.key("track")
                    + ": the arm does not train, so there is nothing to measure along it");
        }
        Optional<Adaptation> adaptation = adapts.map(this::adaptation);
        List<On> on = on(section, tasks);
        var setOfArm = new LinkedHashMap<>(common);
        setOfArm.putAll(settings(section.get("train"), key + ".train"));
        adapts.ifPresent(this::fineTune); // so that what is wrong in it is said with its own place
        List<Trial> grid = grid(section, trains, adapts, setOfArm, trials);
        boolean asymmetric = trains && grid.stream().anyMatch(trial -> trial.config().method() == Method.ASYMMETRIC_LORA);
        if (asymmetric && track > 0) {
            throw fail(section.entries.get("track").line(), section.key("track")
                    + ": method is asymmetric-lora, and what is measured along a training is one "
                    + "shared adapter, which it has not; leave track out");
        }
        if (asymmetric && on.contains(On.UNSEEN)) {
            throw fail(section.get("on").orElseThrow().line(), section.key("on")
                    + ": method is asymmetric-lora, which has no adapter for tasks that it "
                    + "was not trained on; say on: [trained]");
        }
        return new Arm(name, section.text("label", name), shots, trains, track, adaptation, on, grid);
    }

    private Adaptation adaptation(Section section) {
        Yaml.Node node = section.require("samples", "the training samples of each task to adapt on, as [8, 16]");
        List<Integer> samples = items(node, section.key("samples")).stream().map(item -> count(item, section.key("samples"))).toList();
        if (samples.isEmpty() || new HashSet<>(samples).size() < samples.size()) {
            throw fail(node.line(), section.key("samples") + (samples.isEmpty() ? " is an empty list" : " holds a number twice"));
        }
        int chooseAt = section.count("choose_at", samples.getLast());
        if (!samples.contains(chooseAt)) {
            throw fail(section.entries.get("choose_at").line(), section.key("choose_at") + " is none of " + section.key("samples"));
        }
        return new Adaptation(samples, chooseAt);
    }

    private List<On> on(Section section, Tasks tasks) {
        Optional<Yaml.Node> node = section.get("on");
        List<On> on = section.list("on", item -> (On) read(On.class, item, section.key("on")));
        if (node.isEmpty()) {
            return List.of(On.TRAINED);
        }
        int line = node.get().line();
        if (on.isEmpty() || new HashSet<>(on).size() < on.size()) {
            throw fail(line, section.key("on") + " is [trained], [unseen] or both");
        }
        if (on.contains(On.UNSEEN) && tasks.unseen().isEmpty()) {
            throw fail(line, section.key("on") + " names unseen tasks, but there is no tasks.unseen");
        }
        return on;
    }

    private FineTune fineTune(Section section) {
        int epochs = section.whole("epochs", DEFAULTS.epochs(), 1);
        long steps = section.value("steps", Long.class, long.class, 0L);
        if (steps < 0 || steps > 0 && section.get("epochs").isPresent()) {
            throw fail(section.entries.get("steps").line(), section.key("steps") + (steps < 0 ? " is below 0" : " takes the place of epochs; omit one"));
        }
        double lr = section.number("lr", DEFAULTS.lr());
        if (!(lr > 0 && lr <= Float.MAX_VALUE)) {
            throw fail(section.entries.get("lr").line(), section.key("lr") + " is " + lr + ", but must be above 0");
        }
        return new FineTune(epochs, steps, section.whole("batch_size", DEFAULTS.batchSize(), 1), lr,
                section.value("optimizer", InnerOptimizer.class, InnerOptimizer.class, DEFAULTS.optimizer()),
                section.value("adapts", AdapterPart.class, AdapterPart.class, DEFAULTS.adapts()));
    }

    private List<Trial> grid(Section section, boolean trains, Optional<Section> adapts, Map<String, String> common, int trials) {
        Optional<Yaml.Node> node = section.get("grid");
        if (!trains && adapts.isEmpty()) {
            if (node.isPresent()) {
                throw fail(node.get().line(), section.key("grid") + ": the arm neither trains nor adapts, so there is nothing to try");
            }
            var untuned = new Trial(Map.of(), common, DEFAULTS);
            requireConfig(untuned, section.line, section.name, false);
            return List.of(untuned);
        }
        List<Yaml.Node> items = node.map(of -> items(of, section.key("grid"))).orElse(List.of());
        if (items.size() != trials && !(items.isEmpty() && trials == 1)) {
            throw fail(node.map(Yaml.Node::line).orElse(section.line), section.key("grid") + " has " + items.size() + " trials, but every arm has as many as "
                    + "trials says, " + trials);
        }
        if (items.isEmpty()) {
            return List.of(trial(Map.of(), section.line, section.name, trains, adapts, common));
        }
        var grid = new ArrayList<Trial>();
        var seen = new HashSet<Map<String, String>>();
        for (Yaml.Node item : items) {
            Map<String, String> varied = settings(Optional.of(item), section.key("grid"));
            if (!seen.add(varied)) {
                throw fail(item.line(), section.key("grid") + " holds the same trial twice");
            }
            grid.add(trial(varied, item.line(), section.key("grid"), trains, adapts, common));
        }
        return grid;
    }

    /** A trial's keys are the training's, and under {@code adapt.} those of adapting; they are laid over the arm's. */
    private Trial trial(Map<String, String> varied, int line, String key, boolean trains, Optional<Section> adapts, Map<String, String> common) {
        var train = new LinkedHashMap<>(common);
        var adapt = new LinkedHashMap<String, Yaml.Entry>();
        adapts.ifPresent(arm -> FINE_TUNE.forEach(of -> arm.get(of).ifPresent(value -> adapt.put(of, arm.entries.get(of)))));
        if (varied.containsKey("adapt.steps") || varied.containsKey("adapt.epochs")) { // each takes the other's place
            adapt.keySet().removeAll(List.of("steps", "epochs"));
        }
        varied.forEach((setting, value) -> {
            boolean ofAdapting = setting.startsWith(ADAPT);
            if (ofAdapting && adapts.isEmpty()) {
                throw fail(line, key + " sets " + setting + ", but the arm does not adapt");
            }
            if (!ofAdapting && !trains) {
                throw fail(line, key + " sets " + setting + ", but the arm does not train");
            }
            if (ofAdapting) {
                String of = setting.substring(ADAPT.length());
                adapt.put(of, new Yaml.Entry(of, line, new Yaml.Scalar(value, true, line)));
            } else {
                train.put(setting, value);
            }
        });
        var trial = new Trial(varied, train, fineTune(new Section(key + ": adapt", new Yaml.Mapping(List.copyOf(adapt.values()), line),
                FINE_TUNE.toArray(String[]::new))));
        TrainConfig config = requireConfig(trial, line, key, trains);
        if (trains && config.method() == Method.ASYMMETRIC_LORA && adapts.isPresent()) {
            throw fail(line, key + ": method is asymmetric-lora, which gives each task an adapter and none to adapt from; "
                    + "leave adapt out");
        }
        return trial;
    }

    private TrainConfig requireConfig(Trial trial, int line, String key, boolean trains) {
        TrainConfig config;
        try {
            config = trial.config();
        } catch (InputException e) {
            throw new InputException(file + ":" + line + ": " + key + ": " + e.getMessage(), e);
        }
        if (!trial.adapt().adapts().isOf(config.adapter().kind())) {
            throw fail(line, key + ": adapt.adapts is " + trial.adapt().adapts()
                    + ", but " + ConfigCheck.NO_ROUTER);
        }
        if (trains && config.method() == Method.SEPARATE_LORA) {
            throw fail(line, key + ": method is separate-lora; LoRA of each task is an arm with adapt and without train");
        }
        return config;
    }

    private Question question(Yaml.Node node, Map<String, Arm> arms, double margin) {
        var section = new Section("questions", node, "ask", "arm", "against", "on", "samples", "against_samples", "margin");
        Row row = row(section, "arm", arms, section.value("on", On.class, On.class, null), samples(section, "samples"));
        // The other row is the same for another arm, where it has one such.
        Row against = row(section, "against", arms, row.on(), samples(section, "against_samples").or(() -> samples(section, "samples")));
        if (row.equals(against)) {
            throw fail(section.line, "questions: a row is compared with itself, " + row);
        }
        return new Question(section.text("ask", row + " against " + against), row, against, margin(section, margin));
    }

    private static Optional<Integer> samples(Section section, String key) {
        return section.get(key).map(node -> section.count(key, 0));
    }

    private Row row(Section section, String key, Map<String, Arm> arms, On on, Optional<Integer> samples) {
        Yaml.Node node = section.require(key, "the name of an arm");
        String name = (String) read(String.class, node, section.key(key));
        Arm arm = Optional.ofNullable(arms.get(name)).orElseThrow(() -> fail(node.line(), section.key(key) + ": there is no arm " + Shown.quoted(name)
                + "; did you mean " + Closest.to(name, arms.keySet()) + "? There are " + String.join(", ", arms.keySet())));
        List<Row> rows = arm.rows().stream().filter(row -> (on == null || row.on() == on)
                && (row.samples() == Protocol.NO_ADAPTATION || samples.isEmpty() || row.samples() == samples.get())).toList();
        if (rows.size() != 1) {
            throw fail(node.line(), section.key(key) + ": " + (rows.isEmpty() ? "no row of " + name + " is meant" : "which row of " + name + " is meant")
                    + "? It has " + String.join("; ", arm.rows().stream().map(Row::toString).toList()) + ". Choose with on and samples");
        }
        return rows.getFirst();
    }

    /** Settings of a training by dotted key, as a section of keys, nested or dotted. Only for all arms those of how it computes. */
    private Map<String, String> settings(Optional<Yaml.Node> node, String key) {
        var settings = new LinkedHashMap<String, String>();
        node.ifPresent(of -> {
            if (!(of instanceof Yaml.Mapping mapping)) {
                throw fail(of.line(), key + " is a section of settings, as {optimizer.lr: 1e-3}");
            }
            settings(mapping, "", key, settings);
        });
        return Collections.unmodifiableMap(settings);
    }

    private void settings(Yaml.Mapping mapping, String prefix, String where, Map<String, String> into) {
        for (Yaml.Entry entry : mapping.entries()) {
            String key = prefix + entry.key();
            if (OWN.contains(key) || key.startsWith("data.columns")) {
                throw fail(entry.line(), where + ": " + key + " is set by the comparison itself; leave it out");
            }
            if (MACHINE.contains(key)) {
                throw fail(entry.line(), where + ": " + key + " is not the protocol's; it is chosen on the command line");
            }
            if (key.startsWith("compute.") && !where.equals(FOR_ALL)) {
                throw fail(entry.line(), where + ": " + key + " is the same for all arms; set it in " + FOR_ALL);
            }
            String value = switch (entry.value()) {
                case Yaml.Mapping child -> {
                    settings(child, key + ".", where, into);
                    yield null;
                }
                case Yaml.Sequence list -> "[" + String.join(", ", list.items().stream().map(item -> Yaml.quoted(
                        (String) read(String.class, item, key))).toList()) + "]";
                case Yaml.Scalar scalar -> scalar.text();
            };
            if (value != null && into.putIfAbsent(key, value) != null) {
                throw fail(entry.line(), where + ": " + key + " is set a second time");
            }
        }
    }

    // ---- values

    /** A path, or what is embedded. */
    private String folder(Yaml.Node node, String key) {
        String text = (String) read(String.class, node, key);
        return text.startsWith(Protocol.EMBEDDED) ? text : read(Path.class, node, key).toString();
    }

    private Object read(Class<?> type, Yaml.Node node, String key) {
        try {
            if (node instanceof Yaml.Mapping) {
                throw new InputException("is a value, it has no keys of its own");
            }
            return ConfigValues.read(type, node);
        } catch (InputException e) {
            throw new InputException(file + ":" + node.line() + ": " + key + ": " + e.getMessage(), e);
        }
    }

    private int count(Yaml.Node node, String key) {
        if (node instanceof Yaml.Scalar scalar && scalar.text().equals(ALL)) {
            return 0;
        }
        int count = (int) read(int.class, node, key);
        if (count < 1) {
            throw fail(node.line(), key + " is " + count + ", but is a number from 1 on, or " + ALL);
        }
        return count;
    }

    private List<Yaml.Node> items(Yaml.Node node, String key) {
        if (!(node instanceof Yaml.Sequence sequence)) {
            throw fail(node.line(), key + " is a list, as [a, b]");
        }
        return sequence.items();
    }

    private InputException fail(int line, String what) {
        return new InputException(file + ":" + line + ": " + what);
    }
}
