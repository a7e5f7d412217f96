package io.metalora.launcher;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;

/** Runs the launcher within this process, and the files its tests work on. */
final class Cli {

    /** What a run gave. */
    record Result(int code, String out, String err) {
    }

    private Cli() {
    }

    static Result run(Object... args) {
        var out = new ByteArrayOutputStream();
        var err = new ByteArrayOutputStream();
        int code = Main.run(Arrays.stream(args).map(Object::toString).toArray(String[]::new), new PrintStream(out, true, UTF_8),
                new PrintStream(err, true, UTF_8));
        return new Result(code, out.toString(UTF_8), err.toString(UTF_8));
    }

    /** A file of the fixture that make_fixture.py makes. */
    static Path fixture(String name) {
        try {
            return Path.of(Cli.class.getResource("/fixture/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    static Path model() {
        return fixture("model");
    }

    /** A copy of the fixture's model, to be damaged. */
    static Path copyOfModel(Path folder) throws IOException {
        Path copy = Files.createDirectories(folder.resolve("model"));
        try (var files = Files.list(model())) {
            for (Path file : files.toList()) {
                Files.copy(file, copy.resolve(file.getFileName()));
            }
        }
        return copy;
    }

    /** Three tasks: two with closed labels, one with open answers. */
    static Path tasks(Path folder) throws IOException {
        Path tasks = folder.resolve("tasks");
        String[] animals = {"cat", "dog", "cow", "hen", "fox", "owl"};
        for (String split : new String[] {"train", "dev", "test"}) {
            var colour = new StringBuilder();
            var side = new StringBuilder();
            var echo = new StringBuilder();
            int count = split.equals("train") ? 24 : 6;
            for (int i = 0; i < count; i++) {
                String animal = animals[i % animals.length];
                colour.append(example(animal + " " + split + i + " is", i % 2 == 0 ? " red" : " blue"));
                side.append(example(split + i + " goes", i % 3 == 0 ? " left" : i % 3 == 1 ? " right" : " right away"));
                echo.append(example("say " + animal + i + ":", " " + animal + i));
            }
            write(tasks.resolve("colour"), split, colour);
            write(tasks.resolve("side"), split, side);
            write(tasks.resolve("echo"), split, echo);
        }
        return tasks;
    }

    private static String example(String prompt, String completion) {
        return "{\"prompt\": \"" + prompt + "\", \"completion\": \"" + completion + "\"}\n";
    }

    private static void write(Path task, String split, CharSequence lines) throws IOException {
        Files.writeString(Files.createDirectories(task).resolve(split + ".jsonl"), lines);
    }

    /** A short training's configuration. */
    static Path config(Path folder, Path tasks, Path output, String... lines) throws IOException {
        return Files.writeString(folder.resolve("config.yaml"), """
                model: %s
                output: %s
                seed: 3
                adapter: {rank: 2, alpha: 4}
                data: {folder: %s, samples_per_task: 20}
                meta: {iterations: 6, tasks_per_iteration: 2, support_size: 3, query_size: 3, inner_steps: 2, inner_lr: 0.01, support_after_every: 1}
                joint: {epochs: 2, batch_size: 8}
                compute: {checkpoint_every: 2, threads: 2}
                """.formatted(model(), output, tasks) + Arrays.stream(lines).collect(Collectors.joining("\n")));
    }
}
