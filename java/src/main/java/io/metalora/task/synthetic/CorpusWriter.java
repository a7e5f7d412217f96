package io.metalora.task.synthetic;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;

/**
 * Writes what {@code models/tiny/train.py} trains the embedded base on: {@code corpus.jsonl}, samples drawn evenly over
 * the pretraining families, and the held-out tasks beside it to check the trained base with.
 *
 * <pre>{@code java -cp ... io.metalora.task.synthetic.CorpusWriter DIRECTORY SAMPLES SEED}</pre>
 */
public final class CorpusWriter {

    private CorpusWriter() {}

    public static void main(String[] args) throws IOException {
        if (args.length != 3) {
            System.err.println("usage: CorpusWriter DIRECTORY SAMPLES SEED");
            System.exit(2);
        }
        Path directory = Files.createDirectories(Path.of(args[0]));
        long seed = Long.parseLong(args[2]);
        writeCorpus(directory.resolve("corpus.jsonl"), Integer.parseInt(args[1]), seed);
        SyntheticTasks.multiTask(seed).writeTo(directory.resolve("multi-task"));
        SyntheticTasks.multilingual(seed).writeTo(directory.resolve("multilingual"));
    }

    static void writeCorpus(Path file, int samples, long seed) throws IOException {
        var families = PretrainingFamilies.all();
        var random = new SplittableRandom(seed);
        try (var out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            for (int i = 0; i < samples; i++) {
                out.write(JsonLine.of(families.get(random.nextInt(families.size())).draw(random)));
            }
        }
    }
}
