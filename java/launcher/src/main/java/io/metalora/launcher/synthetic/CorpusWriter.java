package io.metalora.launcher.synthetic;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Writes what {@code models/tiny/train.py} trains the embedded base on: {@code corpus.jsonl}, samples drawn evenly over
 * the pretraining families (all of them, or the core that the second stage repeats), and the held-out tasks beside it to
 * check the trained base with.
 *
 * <pre>{@code java -cp ... io.metalora.launcher.synthetic.CorpusWriter DIRECTORY SAMPLES SEED all|core}</pre>
 */
public final class CorpusWriter {

    private CorpusWriter() {}

    public static void main(String[] args) throws IOException {
        if (args.length != 4 || !List.of("all", "core").contains(args[3])) {
            System.err.println("usage: CorpusWriter DIRECTORY SAMPLES SEED all|core");
            System.exit(2);
        }
        Path directory = Files.createDirectories(Path.of(args[0]));
        long seed = Long.parseLong(args[2]);
        var families = args[3].equals("all") ? PretrainingFamilies.all() : PretrainingFamilies.core();
        writeCorpus(directory.resolve("corpus.jsonl"), families, Integer.parseInt(args[1]), seed);
        SyntheticTasks.multiTask(seed).writeTo(directory.resolve("multi-task"));
        SyntheticTasks.multilingual(seed).writeTo(directory.resolve("multilingual"));
    }

    static void writeCorpus(Path file, List<Family> families, int samples, long seed) throws IOException {
        var random = new SplittableRandom(seed);
        try (var out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            for (int i = 0; i < samples; i++) {
                out.write(JsonLine.of(families.get(random.nextInt(families.size())).draw(random)));
            }
        }
    }
}
