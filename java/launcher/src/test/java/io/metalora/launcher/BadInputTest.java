package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.files.Pipe;
import io.metalora.runtime.host.SystemMemory;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Bad files and settings, through the launcher: exit code 2, one message that says what, where, what to do; nothing written. */
class BadInputTest {

    @TempDir
    private Path folder;

    private void refused(Cli.Result result, Object... words) {
        assertThat(result.err()).startsWith("error: ").doesNotContain("\tat ");
        assertThat(result.err().lines()).as("one message").hasSizeLessThanOrEqualTo(2);
        assertThat(result.code()).as(result.err()).isEqualTo(2);
        assertThat(result.out()).isEmpty();
        assertThat(result.err()).contains(Arrays.stream(words).map(Object::toString).toArray(String[]::new));
    }

    private Cli.Result score(Path model) {
        return Cli.run("score", "--model", model, "--data", Cli.fixture("data.jsonl"));
    }

    private Cli.Result train(String... settings) throws IOException {
        Path run = folder.resolve("run");
        Path tasks = Files.exists(folder.resolve("tasks")) ? folder.resolve("tasks") : Cli.tasks(folder);
        var args = new ArrayList<Object>(List.of("train", Cli.config(folder, tasks, run)));
        args.addAll(List.of(settings));
        var result = Cli.run(args.toArray());
        assertThat(run).doesNotExist();
        return result;
    }

    // ---- places

    /** What shells replace is not replaced in a file: a folder "~" would be made, and once be removed with all of the home folder. */
    @Test
    void aHomeFolderThatNobodyWritesOut() throws IOException {
        Path config = Cli.config(folder, Cli.tasks(folder), Path.of("~/run"));
        refused(Cli.run("train", config), config + ":2: output: ", "\"~/run\"", "write the home folder out");
        refused(train("output=~/run"), "override output=~/run", "write the home folder out");
        refused(Cli.run("quickstart", "--output=~/run"), "--output", "'~/run'", "write the home folder out");
        assertThat(Path.of("~")).doesNotExist();
    }

    /** The reason, not the name twice. */
    @Test
    void filesOfAnother() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path adapter = Files.createDirectories(folder.resolve("adapter"));
        for (Path closed : List.of(model.resolve("model.safetensors"), model.resolve("tokenizer.json"), model.resolve("config.json"), model,
                adapter)) {
            Set<PosixFilePermission> before = Files.getPosixFilePermissions(closed);
            Files.setPosixFilePermissions(closed, Set.of());
            try {
                Assumptions.assumeFalse(Files.isReadable(closed), "who runs this may read everything");
                refused(closed.equals(adapter) ? Cli.run("score", "--model", Cli.model(), "--adapter", adapter, "--data", Cli.fixture("data.jsonl"))
                        : score(model), closed, "access denied");
            } finally {
                Files.setPosixFilePermissions(closed, before);
            }
        }
    }

    /** Opening one waits for a writer. */
    @Test
    @Timeout(60)
    void pipesInPlaceOfAFolderSFiles() throws IOException, InterruptedException {
        for (String name : List.of("config.json", "generation_config.json", "tokenizer.json", "model.safetensors")) {
            Path model = Cli.copyOfModel(folder.resolve(name));
            Files.deleteIfExists(model.resolve(name));
            Path pipe = Pipe.make(model.resolve(name));
            refused(score(model), pipe, "a pipe or a device");
        }
        for (String name : List.of("tokenizer_config.json", "chat_template.jinja")) {
            Path model = Cli.copyOfModel(folder.resolve(name));
            Files.deleteIfExists(model.resolve(name));
            Path pipe = Pipe.make(model.resolve(name));
            refused(Cli.run("generate", "--model", model, "--prompt", "x", "--chat"), pipe, "a pipe or a device");
        }
        Path adapter = Files.createDirectories(folder.resolve("adapter"));
        Path pipe = Pipe.make(adapter.resolve("adapter_config.json"));
        refused(Cli.run("score", "--model", Cli.model(), "--adapter", adapter, "--data", Cli.fixture("data.jsonl")),
                pipe, "a pipe or a device");
        refused(train("--replay", pipe.toString()), pipe, "a pipe or a device");
    }

    @Test
    void drawsOfTwoRunsAtOnce() throws IOException {
        refused(train("--replay", "one.jsonl", "meta.replay=other.jsonl"), "--replay is one.jsonl, but meta.replay is other.jsonl",
                "omit one");
    }

    /** The heap holds no more than a line of the most that is read: it is not what is said to be full. */
    @Test
    void aLogWithALineThatNoRunWrites() throws IOException, InterruptedException {
        Path log = folder.resolve("draws.jsonl");
        try (var file = new RandomAccessFile(log.toFile(), "rw")) {
            file.setLength(200L << 20);
        }
        Path tasks = Cli.tasks(folder);
        Path config = Cli.config(folder, tasks, folder.resolve("run"));
        var result = JavaProcess.run(folder, List.of("-Xmx420m"), "train", config, "--replay", log);
        assertThat(result.code()).as(result.err()).isEqualTo(2);
        assertThat(result.err()).contains("error: " + log + ":1: the line is damaged: it has more than 128 MiB");
        assertThat(folder.resolve("run")).doesNotExist();
    }

    // ---- checkpoints

    @Test
    void truncatedSafetensors() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path file = model.resolve("model.safetensors");
        Files.write(file, Arrays.copyOf(Files.readAllBytes(file), 50_000));
        refused(score(model), file, "truncated");
    }

    @Test
    void foreignSafetensors() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path file = Files.writeString(model.resolve("model.safetensors"), "GGUF and then something else entirely");
        refused(score(model), file, "is not a safetensors file but a GGUF file");
    }

    @Test
    void headerLongerThanTheFile() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path file = model.resolve("model.safetensors");
        Files.write(file, ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 1 << 20).array());
        refused(score(model), file, "the header length of 1048576 bytes goes beyond the file");
    }

    private Path withHeader(String header, int dataBytes) throws IOException {
        Path model = Cli.copyOfModel(folder);
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        var bytes = ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
        bytes.putLong(json.length).put(json);
        Files.write(model.resolve("model.safetensors"), bytes.array());
        return model;
    }

    @Test
    void overlappingOffsets() throws IOException {
        Path model = withHeader("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                + "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12);
        refused(score(model), model.resolve("model.safetensors"), "tensor b begins at data byte 4, inside tensor a");
    }

    @Test
    void offsetsBeyondTheFile() throws IOException {
        Path model = withHeader("{\"a\":{\"dtype\":\"F32\",\"shape\":[200],\"data_offsets\":[0,800]}}", 12);
        refused(score(model), model.resolve("model.safetensors"), "tensor a lies at data bytes 0 .. 800, but the file holds 12");
    }

    @Test
    void missingTensor() throws IOException {
        Path model = withHeader("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
        refused(score(model), model, "model.embed_tokens.weight");
    }

    @Test
    void wrongShape() throws IOException {
        Path model = Cli.copyOfModel(folder);
        replaceIn(model.resolve("config.json"), "\"intermediate_size\": 64", "\"intermediate_size\": 72");
        refused(score(model), "mlp.", "72", "64");
    }

    @Test
    void hugeShapesAreRefusedInWords() throws IOException {
        for (String key : new String[] {"hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "head_dim"}) {
            for (String value : new String[] {"4096", "16777216", "2147483647", "9223372036854775807"}) {
                Path model = Cli.copyOfModel(folder.resolve(key + value));
                Path config = model.resolve("config.json");
                Files.writeString(config, Files.readString(config).replaceAll("\"" + key + "\": \\d+", "\"" + key + "\": " + value));
                refused(score(model), "error: " + model);
                refused(train("model=" + model, "adapter.rank=4096"), "error: ");
            }
        }
    }

    @Test
    void wrongDtype() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path file = model.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(file);
        String text = new String(bytes, StandardCharsets.ISO_8859_1).replace("\"F32\"", "\"I32\"");
        Files.write(file, text.getBytes(StandardCharsets.ISO_8859_1));
        refused(score(model), file, "I32");
    }

    @Test
    void unknownArchitecture() throws IOException {
        Path model = Cli.copyOfModel(folder);
        replaceIn(model.resolve("config.json"), "\"LlamaForCausalLM\"", "\"MambaForCausalLM\"");
        replaceIn(model.resolve("config.json"), "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
        refused(score(model), model.resolve("config.json"), "Mamba");
    }

    @Test
    void configWithoutANeededKey() throws IOException {
        Path model = Cli.copyOfModel(folder);
        replaceIn(model.resolve("config.json"), "\"num_attention_heads\"", "\"num_attention_heads_\"");
        refused(score(model), model.resolve("config.json"), "num_attention_heads");
    }

    @ParameterizedTest
    @CsvSource({"rms_norm_eps, 1e-06, 1e300", "rms_norm_eps, 1e-06, 1e-300", "rope_theta, 10000.0, 1e-300", "rope_theta, 10000.0, 1e300"})
    void aNumberThatNoFloatHolds(String key, String from, String to) throws IOException {
        Path model = Cli.copyOfModel(folder);
        replaceIn(model.resolve("config.json"), "\"" + key + "\": " + from, "\"" + key + "\": " + to);
        refused(score(model), model.resolve("config.json"), key, "32-bit float");
    }

    @Test
    void noSuchModel() {
        refused(score(folder.resolve("nowhere")), folder.resolve("nowhere"));
    }

    /** The same words in every verb. */
    @Test
    void aNameOnTheHubInPlaceOfAFolder() throws IOException {
        String name = "no-such-owner/No.Such-Model_1";
        String fetch = "huggingface-cli download " + name + " --local-dir " + name;
        Path tasks = Cli.tasks(folder);
        refused(Cli.run("score", "--model", name, "--data", Cli.fixture("data.jsonl")), name, "nothing is downloaded", fetch);
        refused(Cli.run("eval", "--model", name, "--tasks", tasks), name, "nothing is downloaded", fetch);
        refused(Cli.run("generate", "--model", name, "--prompt", "x"), name, "nothing is downloaded", fetch);
        refused(Cli.run("generate", "--model", name, "--prompt", "x", "--chat"), name, "nothing is downloaded", fetch);
        Path adapter = Cli.fixture("adapter");
        Path output = folder.resolve("output");
        refused(Cli.run("adapt", "--model", name, "--adapter", adapter, "--tasks", tasks, "--output", output), name,
                "nothing is downloaded", fetch);
        refused(Cli.run("adapt", "--model", Cli.model(), "--adapter", name, "--tasks", tasks, "--output", output), name,
                "nothing is downloaded", fetch, "adapter_config.json");
        Path protocol = CompareFixture.protocol(folder, tasks);
        refused(Cli.run("compare", protocol, "--model", name, "--output", output), name, "nothing is downloaded", fetch);
        Files.writeString(protocol, Files.readString(protocol).replace(Cli.model().toString(), name));
        refused(Cli.run("compare", protocol, "--output", output), name, "nothing is downloaded", fetch);
        assertThat(output).doesNotExist();
        refused(train("model=" + name), name, "nothing is downloaded", fetch);
        refused(train("model=" + name, "--no-eval"), name, "nothing is downloaded", fetch);
        refused(train("adapter.init=" + name), name, "nothing is downloaded", fetch, "adapter_config.json");
        refused(Cli.run("score", "--model", Cli.model(), "--adapter", name, "--data", Cli.fixture("data.jsonl")), name,
                "nothing is downloaded", fetch, "adapter_config.json");
        assertThat(score(folder.resolve("nowhere")).err()).doesNotContain("Hub");
    }

    @Test
    void modelThatDoesNotFitInMemory() throws IOException {
        refused(score(wideModel()), "memory", "GiB are available", "smaller model");
    }

    @Test
    void trainingThatDoesNotFitInMemory() throws IOException {
        Path model = wideModel();
        refused(train("model=" + model), "Training " + model, "memory", "adapters", "GiB are available", "adapter.rank");
    }

    private Path wideModel() throws IOException {
        Path model = Cli.copyOfModel(folder);
        replaceIn(model.resolve("config.json"), "\"intermediate_size\": 64", "\"intermediate_size\": " + WIDE);
        replaceIn(model.resolve("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": " + LAYERS);
        enlarge(model.resolve("model.safetensors"));
        return model;
    }

    private static final int WIDE = 1 << 24; // 2 GiB a projection of the feed-forward part
    /** As many layers of three projections as the machine can't hold. */
    private static final int LAYERS = (int) (SystemMemory.available() / (6L << 30)) + 2;

    /** Rewrites the file with many wide layers; they are holes, which take no room on the disk. */
    private static void enlarge(Path file) throws IOException {
        ByteBuffer old = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        byte[] json = new byte[(int) old.getLong()];
        old.get(json);
        var header = (ObjectNode) new ObjectMapper().readTree(json);
        header.remove("__metadata__");
        for (var name : List.copyOf(header.properties().stream().map(Map.Entry::getKey).toList())) {
            for (int layer = 2; layer < LAYERS && name.contains("layers.1."); layer++) {
                header.set(name.replace("layers.1.", "layers." + layer + "."), header.get(name).deepCopy());
            }
        }
        long end = 0;
        for (var tensor : header.properties()) {
            var shape = (ArrayNode) tensor.getValue().get("shape");
            if (tensor.getKey().contains(".mlp.")) {
                shape.set(tensor.getKey().contains("down_proj") ? 1 : 0, WIDE);
            }
            long bytes = 4;
            for (var size : shape) {
                bytes *= size.asLong();
            }
            ((ArrayNode) tensor.getValue().get("data_offsets")).removeAll().add(end).add(end += bytes);
        }
        byte[] wide = header.toString().getBytes(StandardCharsets.UTF_8);
        try (var out = new RandomAccessFile(file.toFile(), "rw")) {
            out.setLength(0);
            out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(wide.length).array());
            out.write(wide);
            out.setLength(8 + wide.length + end);
        }
    }

    private static void replaceIn(Path file, String from, String to) throws IOException {
        String text = Files.readString(file);
        assertThat(text).contains(from);
        Files.writeString(file, text.replace(from, to));
    }

    // ---- adapters

    @Test
    void adapterForAnotherModel() throws IOException {
        Path other = Cli.copyOfModel(folder);
        replaceIn(other.resolve("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
        refused(Cli.run("score", "--model", other, "--adapter", Cli.fixture("adapter"), "--data", Cli.fixture("data.jsonl")),
                "adapter", "layers.1");
    }

    @Test
    void aRunFolderInPlaceOfItsAdapter() throws IOException {
        Path run = Files.createDirectories(folder.resolve("earlier"));
        Files.writeString(Files.createDirectories(run.resolve("adapter")).resolve("adapter_config.json"), "{}");
        refused(Cli.run("score", "--model", Cli.model(), "--adapter", run, "--data", Cli.fixture("data.jsonl")), run,
                "adapter_config.json", run.resolve("adapter"));
        refused(train("adapter.init=" + run), run, "adapter_config.json", run.resolve("adapter"));
    }

    @Test
    void targetThatMatchesNothing() throws IOException {
        refused(train("adapter.target_modules=[q_proj, query_key_value]"), "query_key_value");
    }

    // ---- data

    private Path tasksWith(String file, String line) throws IOException {
        Path path = Cli.tasks(folder).resolve(file);
        Files.writeString(path, Files.readString(path) + line);
        return path;
    }

    @Test
    void malformedLine() throws IOException {
        Path path = tasksWith("side/train.jsonl", "{\"prompt\": \"a\", \"completion\"\n");
        refused(train(), path + ":25");
    }

    @Test
    void emptyCompletion() throws IOException {
        Path path = tasksWith("side/train.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n");
        refused(train(), path + ":25", "completion is empty");
    }

    @Test
    void exampleLongerThanTheContext() throws IOException {
        Path path = tasksWith("echo/test.jsonl", "{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" b\"}\n");
        refused(Cli.run("eval", "--model", Cli.model(), "--tasks", folder.resolve("tasks")), path + ":7", "context of 96");
    }

    @Test
    void tooFewSamples() throws IOException {
        Path run = folder.resolve("run");
        refused(Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), "data.samples_per_task=5"), "5", "support", "query");
        assertThat(run).doesNotExist();
    }

    /** Settings that together mean nothing: what is wrong, where it was set, what to do. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
        data.names=[side] meta.tasks_per_iteration=1 meta.composition=size | takes all 1 of them; lower it, or use uniform
        data.names=[side] meta.tasks_per_iteration=1 meta.composition=loss | takes all 1 of them; lower it, or use uniform
        meta.tasks_per_iteration=1 meta.composition=agree | override meta.composition=agree: meta.composition is agree
        meta.tasks_per_iteration=1 meta.composition=cover | override meta.composition=cover: meta.composition is cover
        meta.tasks_per_iteration=1 meta.aggregation=weighted | override meta.aggregation=weighted: meta.aggregation is
        meta.tasks_per_iteration=1 meta.aggregation=pcgrad | meta.aggregation is pcgrad, but takes two tasks or more
        meta.tasks_per_iteration=1 meta.aggregation=cagrad | meta.aggregation is cagrad, but takes two tasks or more
        meta.tasks_per_iteration=1 meta.aggregation=mgda | takes two tasks or more, and meta.tasks_per_iteration is 1
        adapter.kind=mixture adapter.heads=0 | override adapter.heads=0: adapter.heads is 0, but must be between 1 and
        adapter.kind=mixture method=asymmetric-lora | method asymmetric-lora has a B of each task in place of a router; leave
        data.samples_per_task=5 | has 5 samples, fewer than the 3 of support and the 3 of query together; give it more samples
        """)
    void settingsThatCanNotBeTogether(String settings, String message) throws IOException {
        refused(train(settings.split(" ")), message);
    }

    @Test
    void drawsOfOtherTasks() throws IOException {
        Path first = folder.resolve("first");
        Path tasks = Cli.tasks(folder);
        assertThat(Cli.run("train", Cli.config(folder, tasks, first), "--no-eval").code()).isZero();
        String log = first.resolve("draws.jsonl").toString();
        refused(train("--replay", log, "data.names=[colour, side]"), log + ":2: ", "task \"echo\", which is none of this run's");
        Path echo = tasks.resolve("echo/train.jsonl");
        Files.writeString(echo, Files.readString(echo).replace("say", "tell"));
        refused(train("--replay", log), log + ":2: ", "the training examples of task \"echo\" are not those that were drawn "
                + "from then");
    }

    @Test
    void moreSamplesThanATaskHas() throws IOException {
        Path out = folder.resolve("out");
        Path tasks = Cli.tasks(folder);
        refused(Cli.run("adapt", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--tasks", tasks, "--samples", "25",
                "--output", out),
                "--samples is 25, but of the tasks in " + tasks + " colour has 24", "--samples");
        Path protocol = CompareFixture.protocol(folder, tasks);
        Files.writeString(protocol, Files.readString(protocol).replace("samples: [4, 8]",
                "samples: [4, 25]").replace("samples: 8,", "samples: 25,")
                .replace("{samples: [8, all]", "{samples: [25, all]"));
        refused(Cli.run("compare", protocol, "--output", out, "--tasks", CompareFixture.tasks(folder)),
                "adapt.samples is 25, but task echo has 24");
        assertThat(out).doesNotExist();
    }

    @Test
    void unknownKey() throws IOException {
        refused(Cli.run("train", Cli.config(folder, Cli.tasks(folder), folder.resolve("run")), "meta.iner_steps=1"), "iner_steps",
                "inner_steps");
    }

    @Test
    void missingConfig() {
        refused(Cli.run("train", folder.resolve("none.yaml")), folder.resolve("none.yaml"));
    }

    @Test
    void splitThatATaskLacks() throws IOException {
        Path tasks = Cli.tasks(folder);
        Files.delete(tasks.resolve("echo/test.jsonl"));
        refused(Cli.run("eval", "--model", Cli.model(), "--tasks", tasks), "echo", "test.jsonl");
    }

    @Test
    void outputFolderOfQuickstartExists() throws IOException {
        Path output = Files.createDirectories(folder.resolve("run"));
        refused(Cli.run("quickstart", "--output", output), output, "already exists");
        assertThat(output).isEmptyDirectory();
    }
}
