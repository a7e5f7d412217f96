package example;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Runs the README's examples: {@code Examples MODEL OUTPUT}. Fails where one does not do what it says. */
final class Examples {

    private Examples() {
    }

    public static void main(String[] args) throws IOException {
        Path model = Path.of(args[0]);
        Path output = Path.of(args[1]);
        Path tasks = tasks(output.resolve("tasks"));
        Path adapter = output.resolve("adapter");
        byte[] before = Files.exists(adapter) ? Files.readAllBytes(adapter.resolve("adapter_model.safetensors")) : null;

        TrainAdapter.train(model, tasks, adapter);

        byte[] after = Files.readAllBytes(adapter.resolve("adapter_model.safetensors"));
        if (before != null && !Arrays.equals(before, after)) {
            throw new AssertionError("the same training gave another adapter than before: " + adapter);
        }
        var completions = GenerateText.compare(model, adapter, "double 4 is");
        if (completions.size() != 2 || completions.stream().anyMatch(completion -> completion.completionTokens() == 0)) {
            throw new AssertionError("no text of both: " + completions);
        }
        System.out.println("the core alone trained " + adapter + ", " + (Examples.class.getModule().isNamed() ? "as a module" : "on the class path"));
    }

    private static Path tasks(Path folder) throws IOException {
        for (String task : new String[] {"double", "next", "same"}) {
            String lines = IntStream.range(0, 12).mapToObj(i -> "{\"prompt\": \"" + task + " " + i + " is\", \"completion\": \" "
                    + (task.equals("double") ? 2 * i : task.equals("next") ? i + 1 : i) + "\"}").collect(Collectors.joining("\n"));
            Files.writeString(Files.createDirectories(folder.resolve(task)).resolve("train.jsonl"), lines + "\n");
        }
        return folder;
    }
}
