package io.metalora.launcher;

import io.metalora.config.Protocol;
import io.metalora.config.Protocol.On;
import io.metalora.config.Protocol.Source;
import io.metalora.eval.Split;
import io.metalora.file.Sha256;
import io.metalora.file.Shown;
import io.metalora.launcher.synthetic.Sample;
import io.metalora.launcher.synthetic.SyntheticTask;
import io.metalora.launcher.synthetic.SyntheticTasks;
import io.metalora.runtime.InputException;
import io.metalora.random.CounterRandom;
import io.metalora.task.Example;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.IntPredicate;
import java.util.function.LongFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * The tasks of a comparison, read and checked before anything is trained.
 *
 * @param folder  of those that are trained on; empty of generated ones
 * @param trained those that shared adapters are trained on
 * @param unseen  those held out of all training; empty where there are none
 * @param tuning  those on whose dev splits the settings for unseen tasks are chosen: like the unseen ones, or themselves
 */
record CompareTasks(Optional<Path> folder, List<Task> trained, List<Task> unseen, List<Task> tuning) {

    /** Tasks that the launcher generates, the same ones for every seed of a protocol. */
    private static final Map<String, LongFunction<SyntheticTasks>> EMBEDDED = new TreeMap<>(Map.of(
            "multi-task", SyntheticTasks::multiTask, "multilingual", SyntheticTasks::multilingual, "customers", SyntheticTasks::customers,
            "tuning-customers", SyntheticTasks::tuningCustomers, "new-customers", SyntheticTasks::newCustomers, "shops", SyntheticTasks::shops,
            "tuning-shops", SyntheticTasks::tuningShops, "new-shops", SyntheticTasks::newShops));
    private static final String PREFIX = Protocol.EMBEDDED + ":";
    private static final long EMBEDDED_SEED = 0;
    private static final int MOST_NAMED = 5;

    /**
     * Reads, or generates, and checks them.
     *
     * @throws InputException if a split that is needed is missing, a task has too few samples, or test items are also trained on
     */
    static CompareTasks read(Protocol protocol) {
        var tasks = protocol.tasks();
        List<Task> trained = withDev(read(tasks.trained()), tasks.devFromTrain());
        List<Task> unseen = tasks.unseen().map(of -> withDev(read(of), tasks.devFromTrain())).orElse(List.of());
        List<Task> tuning = tasks.tuning().map(of -> withDev(read(of), tasks.devFromTrain())).orElse(unseen);
        var all = new CompareTasks(isEmbedded(tasks.trained()) ? Optional.empty() : Optional.of(Path.of(tasks.trained().folder())), trained, unseen,
                tuning);
        all.requireDistinct(tasks.tuning().isPresent());
        all.requireSplits(protocol);
        all.requireSamples(protocol);
        all.requireApart();
        return all;
    }

    /** The folders that tasks are read from. */
    static List<Path> folders(Protocol protocol) {
        return Stream.of(Optional.of(protocol.tasks().trained()), protocol.tasks().unseen(), protocol.tasks().tuning()).flatMap(Optional::stream)
                .filter(source -> !isEmbedded(source)).map(source -> Path.of(source.folder())).toList();
    }

    private static boolean isEmbedded(Source source) {
        return source.folder().startsWith(PREFIX);
    }

    private static List<Task> read(Source source) {
        if (!isEmbedded(source)) {
            return TaskFolder.read(Path.of(source.folder()), source.names());
        }
        LongFunction<SyntheticTasks> maker = EMBEDDED.get(source.folder().substring(PREFIX.length()));
        if (maker == null) {
            throw new InputException("there are no embedded tasks " + Shown.quoted(source.folder()) + "; there are " + EMBEDDED.keySet().stream()
                    .map(PREFIX::concat).collect(Collectors.joining(", ")));
        }
        List<Task> all = maker.apply(EMBEDDED_SEED).tasks().stream().map(task -> new Task(task.name(), examples(task, Split.TRAIN, task.train()),
                examples(task, Split.DEV, task.dev()), examples(task, Split.TEST, task.test()))).toList();
        List<String> names = all.stream().map(Task::name).toList();
        source.names().stream().filter(name -> !names.contains(name)).findFirst().ifPresent(name -> {
            throw new InputException("there is no task " + Shown.quoted(name) + " in " + source.folder() + "; there are " + String.join(", ", names));
        });
        return source.names().isEmpty() ? all : all.stream().filter(task -> source.names().contains(task.name())).toList();
    }

    private static List<Example> examples(SyntheticTask task, Split split, List<Sample> samples) {
        return IntStream.range(0, samples.size()).mapToObj(i -> new Example(samples.get(i).prompt(), samples.get(i).completion(),
                task.name() + "/" + split + ".jsonl:" + (i + 1))).toList();
    }

    /** Tasks without dev split give some of their training samples for one, chosen once for all seeds. */
    private static List<Task> withDev(List<Task> tasks, int count) {
        if (count == 0) {
            return tasks;
        }
        return tasks.stream().map(task -> {
            int available = task.train().size();
            if (!task.dev().isEmpty() || available <= count) {
                return task; // where too few are left, the missing dev split is what is refused
            }
            int[] chosen = new CounterRandom(0, CounterRandom.Purpose.EVALUATION, 1, task.name()).distinct(count, available);
            Set<Integer> dev = Arrays.stream(chosen).boxed().collect(Collectors.toSet());
            return new Task(task.name(), pick(task.train(), i -> !dev.contains(i)), pick(task.train(), dev::contains), task.test());
        }).toList();
    }

    private static List<Example> pick(List<Example> examples, IntPredicate which) {
        return IntStream.range(0, examples.size()).filter(which).mapToObj(examples::get).toList();
    }

    /** The tasks that an arm answers. */
    List<Task> on(On on, Split split) {
        return on == On.TRAINED ? trained : split == Split.DEV ? tuning : unseen;
    }

    private void requireDistinct(boolean tuningApart) {
        var names = new HashMap<String, String>();
        trained.forEach(task -> names.put(task.name(), "trained"));
        unseen.forEach(task -> requireNew(names, task, "unseen"));
        if (tuningApart) {
            tuning.forEach(task -> requireNew(names, task, "tuning"));
        }
    }

    private static void requireNew(Map<String, String> names, Task task, String kind) {
        String other = names.putIfAbsent(task.name(), kind);
        if (other != null) {
            throw new InputException("task " + Shown.plain(task.name()) + " is both in tasks." + other + " and in tasks." + kind
                    + "; a task that was trained or tuned on is not unseen: choose with trained_names, unseen_names and tuning_names");
        }
    }

    private void requireSplits(Protocol protocol) {
        boolean tunes = protocol.trials() > 1;
        for (var arm : protocol.arms().values()) {
            boolean unseenFirst = arm.on().getFirst() == On.UNSEEN;
            if (tunes && arm.isTuned()) {
                require(unseenFirst ? tuning : trained, Split.DEV, "trials are chosen on it alone. Add dev.jsonl, or set tasks.dev_from_train");
            }
            if (arm.track() > 0) {
                require(trained, Split.DEV, "arms." + arm.name()
                        + ".track measures on it. Add dev.jsonl, or set tasks.dev_from_train");
            }
            for (On on : arm.on()) {
                require(on(on, Split.TEST), Split.TEST, "results are reported on it. Add test.jsonl");
            }
        }
        require(trained, Split.TRAIN, "it is trained on");
    }

    private static void require(List<Task> tasks, Split split, String why) {
        List<String> missing = tasks.stream().filter(task -> split.of(task).isEmpty()).map(task -> Shown.plain(task.name())).toList();
        if (!missing.isEmpty()) {
            throw new InputException("no " + split + " split in task " + Shown.first(missing, MOST_NAMED) + ": " + why);
        }
    }

    private void requireSamples(Protocol protocol) {
        for (var arm : protocol.arms().values()) {
            if (arm.train()) {
                int most = arm.grid().stream().mapToInt(trial -> trial.config().data().samplesPerTask()).max().orElse(0);
                requireSamples(trained, most, "arms." + arm.name() + ": data.samples_per_task");
            }
            if (arm.shots() == 0 && arm.adapt().isEmpty()) {
                continue;
            }
            String what = "arms." + arm.name() + (arm.shots() > 0 ? ": shots" : ": adapt.samples");
            int most = Math.max(arm.shots(), arm.adapt().stream().flatMap(adapt -> adapt.samples().stream()).mapToInt(k -> k).max().orElse(0));
            for (On on : arm.on()) {
                requireSamples(on(on, Split.TEST), Math.max(1, most), what);
            }
            if (protocol.trials() > 1 && arm.adapt().isPresent()) {
                requireSamples(on(arm.on().getFirst(), Split.DEV), Math.max(1, arm.adapt().get().chooseAt()), what);
            }
        }
    }

    private static void requireSamples(List<Task> tasks, int count, String what) {
        List<String> few = tasks.stream().filter(task -> task.train().size() < count)
                .map(task -> Shown.plain(task.name()) + " has " + task.train().size()).toList();
        if (!few.isEmpty()) {
            throw new InputException(what + " is " + count + ", but task " + Shown.first(few, MOST_NAMED) + " training samples; lower it, or give the tasks more");
        }
    }

    /**
     * No test item may be trained on or chosen by: in its own task with any answer, in another with the same one. Prompts alone say
     * nothing across tasks, which may ask different things of one text.
     */
    private void requireApart() {
        var trainedOn = new HashMap<List<String>, Example>();
        all().forEach(task -> add(task.train(), trainedOn));
        var chosenOn = new HashMap<>(trainedOn);
        all().forEach(task -> add(task.dev(), chosenOn));
        for (Task task : all().toList()) {
            var own = new HashMap<String, Example>();
            task.train().forEach(example -> own.putIfAbsent(example.prompt(), example));
            requireApart(task, task.dev(), Split.DEV, own, trainedOn);
            task.dev().forEach(example -> own.putIfAbsent(example.prompt(), example));
            requireApart(task, task.test(), Split.TEST, own, chosenOn);
        }
    }

    private static void add(List<Example> examples, Map<List<String>, Example> to) {
        examples.forEach(example -> to.putIfAbsent(List.of(example.prompt(), example.completion()), example));
    }

    private Stream<Task> all() {
        return Stream.of(trained, unseen, tuning).flatMap(List::stream).distinct();
    }

    private static void requireApart(Task task, List<Example> items, Split split, Map<String, Example> own, Map<List<String>, Example> anywhere) {
        var found = new ArrayList<String>();
        for (Example item : items) {
            Optional.ofNullable(own.get(item.prompt())).or(() -> Optional.ofNullable(anywhere.get(List.of(item.prompt(), item.completion()))))
                    .ifPresent(seen -> found.add(item.source() + " is " + seen.source()));
        }
        if (!found.isEmpty()) {
            throw new InputException("the " + split + " split of task " + Shown.plain(task.name()) + " overlaps what is trained or chosen on, in "
                    + found.size() + " of " + items.size() + " items, compared by their text: " + Shown.first(found, MOST_NAMED) + "; remove them from one of the two");
        }
    }

    /** Of all that is read of them. */
    String digest() {
        MessageDigest sha = Sha256.digest();
        for (List<Task> tasks : List.of(trained, unseen, tuning)) {
            for (Task task : tasks) {
                update(sha, task.name());
                for (List<Example> split : List.of(task.train(), task.dev(), task.test())) {
                    update(sha, Integer.toString(split.size()));
                    split.forEach(example -> {
                        update(sha, example.prompt());
                        update(sha, example.completion());
                    });
                }
            }
        }
        return HexFormat.of().formatHex(sha.digest());
    }

    private static void update(MessageDigest sha, String text) {
        sha.update(text.getBytes(StandardCharsets.UTF_8));
        sha.update((byte) 0);
    }
}
