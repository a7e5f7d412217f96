package io.metalora.launcher.synthetic;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;

/**
 * The settings that {@code quickstart} compares methods on. The embedded base has seen the words and related
 * families, but none of these tasks.
 *
 * <p>Whether a prompt may serve for training, dev or test is decided by a hash of the task's name and the prompt, so the
 * splits of any two seeds are disjoint too. The test lists are frozen: they do not depend on the seed. Within a list no
 * prompt occurs twice, and the answers of a closed label set are balanced.
 */
public final class SyntheticTasks {

    /** Samples per task. */
    public static final int TRAIN = 800;

    public static final int DEV = 50;
    public static final int TEST = 100;

    private static final long TEST_SEED = 20_251_013;

    private final List<SyntheticTask> tasks;

    private SyntheticTasks(List<Family> families, long seed) {
        this.tasks = families.stream().map(family -> task(family, seed)).toList();
    }

    /** Ten tasks in English, each with its own rule. */
    public static SyntheticTasks multiTask(long seed) {
        return new SyntheticTasks(HeldOutFamilies.multiTask(), seed);
    }

    /** One task in four languages, each language a task. */
    public static SyntheticTasks multilingual(long seed) {
        return new SyntheticTasks(HeldOutFamilies.multilingual(), seed);
    }

    /** Customers whose samples a shared adapter is trained on: tasks that have a rule in common, and each a convention of its own. */
    public static SyntheticTasks customers(long seed) {
        return new SyntheticTasks(Customers.named("customer", 24, 1), seed);
    }

    /** Others, on which settings are chosen. */
    public static SyntheticTasks tuningCustomers(long seed) {
        return new SyntheticTasks(Customers.named("tuning", 4, 1), seed);
    }

    /** New ones, for use: no part of any choice. */
    public static SyntheticTasks newCustomers(long seed) {
        return new SyntheticTasks(Customers.named("new", 4, 1), seed);
    }

    /**
     * Customers as above, twice as many, whose dev splits ask for three goods of each kind, as their test splits do: choosing by
     * one alone judges too kindly how far a convention carries over to other goods.
     */
    public static SyntheticTasks shops(long seed) {
        return new SyntheticTasks(Customers.named("shop", 48, 3), seed);
    }

    /** Others, on which settings are chosen. */
    public static SyntheticTasks tuningShops(long seed) {
        return new SyntheticTasks(Customers.named("tuning-shop", 6, 3), seed);
    }

    /** New ones, for use: no part of any choice. */
    public static SyntheticTasks newShops(long seed) {
        return new SyntheticTasks(Customers.named("new-shop", 12, 3), seed);
    }

    public List<SyntheticTask> tasks() {
        return tasks;
    }

    /**
     * Writes one folder a task with train.jsonl, dev.jsonl and test.jsonl of {"prompt", "completion"}.
     *
     * @throws IOException where a file cannot be written
     */
    public void writeTo(Path directory) throws IOException {
        write(tasks, directory);
    }

    static void write(List<SyntheticTask> tasks, Path directory) throws IOException {
        for (SyntheticTask task : tasks) {
            Path folder = Files.createDirectories(directory.resolve(task.name()));
            write(folder.resolve("train.jsonl"), task.train());
            write(folder.resolve("dev.jsonl"), task.dev());
            write(folder.resolve("test.jsonl"), task.test());
        }
    }

    private static void write(Path file, List<Sample> samples) throws IOException {
        try (BufferedWriter out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            for (Sample sample : samples) {
                out.write(JsonLine.of(sample));
            }
        }
    }

    private static SyntheticTask task(Family family, long seed) {
        var taken = new HashSet<String>();
        var test = draw(family, TEST_SEED, Split.TEST, TEST, taken);
        var dev = draw(family, seed, Split.DEV, DEV, taken);
        var train = draw(family, seed, Split.TRAIN, TRAIN, taken);
        return new SyntheticTask(family.name(), family.labels(), train, dev, test);
    }

    /** Distinct samples of one split, at most an equal share (rounded up) of them with the same label. */
    private static List<Sample> draw(Family family, long seed, Split split, int size, Set<String> taken) {
        var random = new SplittableRandom(hash(family.name() + "/" + split, seed));
        int share = family.labels().isEmpty() ? size : Math.ceilDiv(size, family.labels().size());
        Map<String, Integer> perLabel = new HashMap<>();
        var samples = new ArrayList<Sample>(size);
        for (long tries = 0; samples.size() < size; tries++) {
            if (tries > 1_000L * size) {
                throw new IllegalStateException(
                        "task " + family.name() + ": found only " + samples.size() + " of " + size + " samples for " + split);
            }
            Sample sample = family.draw(random);
            if (family.split().apply(sample.prompt()) != split || perLabel.getOrDefault(sample.completion(), 0) >= share) {
                continue;
            }
            if (taken.add(sample.prompt())) {
                perLabel.merge(sample.completion(), 1, Integer::sum);
                samples.add(sample);
            }
        }
        return new Draws(random, family.language()).shuffled(samples);
    }

    /** FNV-1a over the UTF-8 bytes, then the finalizer of MurmurHash3 to spread the low bits. */
    static long hash(String text, long seed) {
        long hash = 0xcbf29ce484222325L ^ seed;
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
        }
        hash = (hash ^ (hash >>> 33)) * 0xff51afd7ed558ccdL;
        hash = (hash ^ (hash >>> 33)) * 0xc4ceb9fe1a85ec53L;
        return hash ^ (hash >>> 33);
    }
}
