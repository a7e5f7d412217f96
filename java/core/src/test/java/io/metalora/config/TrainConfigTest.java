package io.metalora.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.TargetModules;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TrainConfigTest {

    private static final String YAML = """
            method: joint-lora
            model: models/base
            output: runs/one
            seed: 7
            adapter:
              rank: 4
              alpha: 8
              target_modules: [q_proj, v_proj]
            data:
              folder: tasks
              names: [a, b]
            optimizer:
              lr: 5e-4
              schedule: linear
            """;

    @TempDir
    Path folder;

    @Test
    void readsValuesAndLeavesTheRestAtItsDefault() {
        TrainConfig config = TrainConfig.parse("c.yaml", YAML, List.of());

        assertThat(config.method()).isEqualTo(Method.JOINT_LORA);
        assertThat(config.model()).isEqualTo(Path.of("models/base"));
        assertThat(config.seed()).isEqualTo(7);
        assertThat(config.adapter().rank()).isEqualTo(4);
        assertThat(config.adapter().alpha()).isEqualTo(8);
        assertThat(config.adapter().targetModules()).isEqualTo(TargetModules.of("q_proj", "v_proj"));
        assertThat(config.data().names()).containsExactly("a", "b");
        assertThat(config.optimizer().lr()).isEqualTo(5e-4);
        assertThat(config.optimizer().schedule()).isEqualTo(Schedule.LINEAR);
        assertThat(config.meta()).isEqualTo(TrainConfig.DEFAULTS.meta());
    }

    @Test
    void overridesWinAndMayNameAnyKey() {
        TrainConfig config = TrainConfig.parse("c.yaml", YAML, List.of("optimizer.lr=1e-3", "adapter.target_modules=.*mlp.*",
                "compute.backend=cpu", "data.names=[c]", "meta.inner_optimizer=adamw", "adapter.init=some/adapter"));

        assertThat(config.optimizer().lr()).isEqualTo(1e-3);
        assertThat(config.adapter().targetModules()).isEqualTo(TargetModules.ofString(".*mlp.*"));
        assertThat(config.compute().backend()).isEqualTo(Backend.CPU);
        assertThat(config.data().names()).containsExactly("c");
        assertThat(config.meta().innerOptimizer()).isEqualTo(InnerOptimizer.ADAMW);
        assertThat(config.adapter().init()).isEqualTo(Path.of("some/adapter"));
        assertThat(config.with("seed=9").seed()).isEqualTo(9);
    }

    @Test
    void resolvedYamlReadsBackAsTheSame() {
        for (String targets : new String[] {"all-linear", "[k_proj]", ".*(q|v)_proj"}) {
            TrainConfig config = TrainConfig.parse("c.yaml", YAML, List.of("adapter.target_modules=" + targets)).absolute();
            assertThat(TrainConfig.parse("resolved", config.toYaml(), List.of())).isEqualTo(config);
            assertThat(config.toYaml()).contains("inner_steps: 3", "lr: 5.0E-4");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            `meta:\\n  iner_steps: 3`          | c.yaml:2: unknown key "meta.iner_steps"; did you mean "meta.inner_steps"?
            `seed: 1\\nadaptor:\\n  rank: 3`   | c.yaml:2: unknown key "adaptor"; did you mean "adapter"?
            `seed: 1\\nseed: 2`                | seed
            `adapter:\\n  rank: many`          | c.yaml:2: adapter.rank: expected a whole number, but is "many"
            `adapter:\\n  rank: 2.5`           | c.yaml:2: adapter.rank: expected a whole number, but is "2.5"
            `adapter:\\n  alpha: big`          | c.yaml:2: adapter.alpha: expected a number, but is "big"
            `adapter:\\n  rslora: 1`           | c.yaml:2: adapter.rslora: expected true or false, but is "1"
            `data: {names: {a: 1}}`            | c.yaml:1: data.names is a value, it has no keys of its own
            `data: {names: all}`               | c.yaml:1: data.names: expected a list of names, as [a, b], but is "all"
            `adapter:\\n\\n  rank: 0`          | c.yaml:3: adapter.rank is 0, but must be between 1 and 4096
            `adapter:\\n  rank:`               | c.yaml:2: adapter.rank has no value
            `adapter: 3`                       | c.yaml:1: adapter is a section with keys of its own, not a value
            `seed: {a: 1}`                     | c.yaml:1: seed is a value, it has no keys of its own
            `adapter:\\n  dropout: 1`          | c.yaml:2: adapter.dropout is 1.0, but must be at least 0 and below 1
            `adapter:\\n  target_modules: []`  | c.yaml:2: adapter.target_modules: target_modules is empty
            `adapter:\\n  target_modules: "("` | c.yaml:2: adapter.target_modules: target_modules "(" is not a regular expression
            `method: maml`                     | c.yaml:1: method: "maml" is not one of meta-lora, joint-lora
            `optimizer:\\n  lr: -1`            | c.yaml:2: optimizer.lr is -1.0, but must be at least 0 and finite
            `optimizer:\\n  lr: .nan`          | c.yaml:2: optimizer.lr: expected a number, but is ".nan"
            `meta:\\n  support_size: 0`        | c.yaml:2: meta.support_size is 0, but must be at least 1 with 3 inner steps
            `meta:\\n  tasks_per_iteration: 2147483647` | c.yaml:2: meta.tasks_per_iteration is 2147483647, but must be between 1 and 4096
            `meta:\\n  inner_steps: 2147483647` | c.yaml:2: meta.inner_steps is 2147483647, but must be between 0 and 10000
            `compute:\\n  threads: 1025`      | c.yaml:2: compute.threads is 1025, but must be between 0 (all cores) and 1024
            `optimizer: {warmup_steps: 3, warmup_ratio: 0.1}` | can't be set together with optimizer.warmup_steps
            `- a`                              | c.yaml:1: expected keys and values
            `seed: [1`                         | malformed YAML
            `seed: 1\\n---\\nseed: 2`          | c.yaml:2: a second document begins
            `adapter:\\n\trank: 8`            | c.yaml:2: a tab; YAML is indented by spaces alone
            `seed: 1\\nadapter:\\n  rank: 8\\n\talpha: 3` | c.yaml:4: a tab; YAML is indented by spaces alone
            `data:\\n  names:\\n  - a\\n\t- b`   | c.yaml:4: a tab; YAML is indented by spaces alone
            `\tseed: 1`                        | c.yaml:1: a tab; YAML is indented by spaces alone
            `seed: &s 1`                       | c.yaml:1: the anchor &s is not supported
            `data: &d\\n  names: [a]`          | c.yaml:1: the anchor &d is not supported
            `model: a\\noutput: *model`        | c.yaml:2: the alias *model is not supported
            `data:\\n  names: [*a]`            | c.yaml:2: the alias *a is not supported
            `data: *x`                         | c.yaml:1: the alias *x is not supported
            `adapter:\\n  <<: {rank: 3}`       | c.yaml:2: the merge key << is not supported
            `seed: !!int 3`                    | c.yaml:1: the tag !!int is not supported
            `data: {names: [[a]]}`             | c.yaml:1: data.names: expected a list of names, but in it is a list
            `data: {names: [a, b, a]}`         | c.yaml:1: data.names holds "a" twice
            `data: {names: [a, ""]}`           | c.yaml:1: data.names: the list holds an empty name
            `data:\\n  names: [a,\\n  b`       | c.yaml:3: malformed YAML: the list that begins with [ in line 2 is not closed
            `seed: 1\\nmodel: "a\\nseed: 2`    | c.yaml:2: malformed YAML: the quote that is opened here is not closed
            `seed: 1\\nmodel\\noutput: x`      | c.yaml:2: malformed YAML: a key without ": value"
            `model: a: b`                      | c.yaml:1: malformed YAML: ": " where no key can be
            `model: @x`                        | c.yaml:1: malformed YAML: a value can't begin with "@"; put it in quotes
            `adapter:\\n    rank: 3\\n  alpha: 4` | c.yaml:3: malformed YAML: the indentation does not fit the lines above
            `model: "\\q"`                     | c.yaml:1: malformed YAML: an unknown escape
            `seed: 1\\nmodel: "\\u`           | c.yaml:2: malformed YAML: here, or in a value below, an escape after \\ in double quotes is cut off
            `seed: 1\\nmodel: "\\x`           | c.yaml:2: malformed YAML: here, or in a value below, an escape after \\ in double quotes is cut off
            `seed: 1\\ndata: [`              | c.yaml:2: malformed YAML: a value is missing
            `model: !a"b`                      | c.yaml:1: malformed YAML: a value is missing, or begins with !
            `%x: 1`                            | c.yaml:1: malformed YAML: a line can't begin with %
            `model: >5x`                       | c.yaml:1: malformed YAML: a value that begins with
            `? [a]\\n: b`                      | c.yaml:1: a key must be a name
            `seed: \u0001`                     | c.yaml:1: the character U+0001 is not allowed in YAML
            `seed: 9223372036854775808`        | c.yaml:1: seed: expected a whole number of 64 bits (-9223372036854775808 to 9223372036854775807), but is "9223372036854775808"
            `adapter: {rank: 99999999999}`     | c.yaml:1: adapter.rank: expected a whole number of 32 bits
            `optimizer: {lr: 1e308}`           | c.yaml:1: optimizer.lr: expected a number that a 32-bit float holds (0, or 1.2e-38 to 3.4e38), but is "1e308"
            `optimizer: {eps: 1e300}`          | c.yaml:1: optimizer.eps: expected a number that a 32-bit float holds
            `optimizer: {eps: 1e-60}`          | c.yaml:1: optimizer.eps: expected a number that a 32-bit float holds
            `optimizer: {eps: 1e-9999}`        | c.yaml:1: optimizer.eps: expected a number that a 32-bit float holds
            `optimizer: {eps: 2}`              | c.yaml:1: optimizer.eps is 2.0, but must be above 0 and at most 1
            `optimizer: {lr: 1e38}`            | c.yaml:1: optimizer.lr is 1.0E38, but divided by 1 - optimizer.beta1
            `optimizer: {beta2: 0.99999999}`   | c.yaml:1: optimizer.beta2 is 0.99999999, but must be at least 0 and below 1, as a 32-bit float too
            `adapter: {alpha: 1e39}`           | c.yaml:1: adapter.alpha: expected a number that a 32-bit float holds
            `adapter: {alpha: 1.2e-38}`        | c.yaml:1: adapter.alpha is 1.2E-38, but divided by adapter.rank it must be at least 1.2e-38
            `meta: {tasks_per_iteration: 2147483647}` | c.yaml:1: meta.tasks_per_iteration is 2147483647, but must be between 1 and 4096
            `meta: {inner_steps: 2147483647}`  | c.yaml:1: meta.inner_steps is 2147483647, but must be between 0 and 10000
            `compute: {threads: 1025}`         | c.yaml:1: compute.threads is 1025, but must be between 0 (all cores) and 1024
            `model: "a\\0b"`                   | c.yaml:1: model: expected a path, but "a\\u0000b" holds a NUL character
            `model: ""`                        | c.yaml:1: model: expected a path, but is empty
            """)
    void namesFileLineKeyAndWhatIsWrong(String yaml, String message) {
        assertThatThrownBy(() -> TrainConfig.parse("c.yaml", yaml.replace("\\n", "\n"), List.of()))
                .isInstanceOf(InputException.class).hasMessageContaining(message.strip()).hasMessageStartingWith("c.yaml:")
                .satisfies(e -> assertThat(e.getMessage()).doesNotContain("yaml.engine", "java.", "block mapping", "token"));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            seed                | override "seed" is not of the form key=value
            meta.steps=3        | override meta.steps=3: unknown key "meta.steps"; did you mean "meta.
            meta=3              | override meta=3: meta is a section
            seed.x=3            | override seed.x=3: seed is a value, it has no key "x"
            seed=               | override seed=: seed has no value
            seed=one            | override seed=one: seed: expected a whole number, but is "one"
            data.names=[a       | override data.names=[a: malformed YAML: the list that begins with [
            data.names=[*a]     | override data.names=[*a]: the alias *a is not supported
            model="a            | override model="a: malformed YAML: the quote that is opened here is not closed
            seed=[1]            | override seed=[1]: seed: expected a whole number, but is "[1]"
            meta.query_size=0   | override meta.query_size=0: meta.query_size is 0, but must be at least 1
            meta.outer=second   | override meta.outer=second: meta.outer: "second" is not one of first-order, reptile, exact
            meta.cagrad_c=1   | override meta.cagrad_c=1: meta.cagrad_c is 1.0, but must be at least 0 and below 1
            meta.aggregation=sum   | override meta.aggregation=sum: meta.aggregation: "sum" is not one of mean, weighted, pcgrad, cagrad, mgda
            """)
    void namesTheOverrideThatIsWrong(String override, String message) {
        assertThatThrownBy(() -> TrainConfig.of(override)).isInstanceOf(InputException.class).hasMessageStartingWith(message.strip());
    }

    @Test
    void bf16ArithmeticTakesWeightsInBf16() {
        assertThat(TrainConfig.of("compute.arithmetic=bf16").compute().device().arithmetic()).isEqualTo(Arithmetic.BF16);
        assertThatThrownBy(() -> TrainConfig.of("compute.arithmetic=bf16", "compute.weights=f32"))
                .isInstanceOf(InputException.class).hasMessageContaining("compute.weights").hasMessageContaining("leave it auto");
    }

    @Test
    void refusesAnOuterDirectionThatIsNotKnown() {
        assertThatThrownBy(() -> TrainConfig.of("meta.outer=exact", "meta.inner_optimizer=adamw")).isInstanceOf(InputException.class)
                .hasMessageContaining("meta.outer").hasMessageContaining("inner_optimizer: sgd");
        assertThatThrownBy(() -> TrainConfig.of("meta.outer=exact", "meta.inner_clip=1")).isInstanceOf(InputException.class);
        assertThatThrownBy(() -> TrainConfig.of("meta.outer=reptile", "meta.inner_steps=0")).hasMessageContaining("without inner steps");
        assertThatThrownBy(() -> TrainConfig.of("meta.aggregation=mgda", "meta.tasks_per_iteration=1")).hasMessageContaining("takes two tasks or more");
        assertThatThrownBy(() -> TrainConfig.of("meta.aggregation=pcgrad", "meta.tasks_per_iteration=257")).hasMessageContaining("at most 256 tasks");
        assertThatThrownBy(() -> TrainConfig.of("meta.composition=cover", "meta.tasks_per_iteration=1")).hasMessageContaining("takes two tasks or more");
    }

    @ParameterizedTest
    @ValueSource(strings = {"1_0", "1e3", "0x10", "0o7", "007", "1_000", "no", "null", "~", "true", "1:30", "2026_11_26", "2026-11-26",
        ".inf", "-", "1.0", "+1", "=", "<<", "y"})
    void aNameThatLooksLikeAnotherTypeStaysAName(String name) {
        TrainConfig config = TrainConfig.parse("c.yaml", "model: '" + name + "'\noutput: \"" + name + "\"\ndata: {names: [\"" + name
                + "\"]}", List.of());

        assertThat(config.output()).isEqualTo(config.model()).hasToString(name);
        assertThat(config.data().names()).containsExactly(name);
        assertThat(TrainConfig.parse("resolved", config.toYaml(), List.of())).isEqualTo(config);
    }

    @ParameterizedTest
    @ValueSource(strings = {"1_0", "1e3", "0x10", "007", "no", "2026_11_26", "a: b", "a #1", "#1", "a'b", "[x]", "{x}", " x ", "*x", "&x", "!x",
        "a\nb"})
    void anOverrideIsTakenAsItStands(String text) {
        assertThat(TrainConfig.of("output=" + text).output()).hasToString(text);
    }

    @Test
    void anOverrideInQuotesOrOfAListIsYaml() {
        assertThat(TrainConfig.of("output='a''b'").output()).hasToString("a'b");
        assertThat(TrainConfig.of("output=\"a\\tb\"").output()).hasToString("a\tb");
        assertThat(TrainConfig.of("data.names=[1_0, 'null', 007]").data().names()).containsExactly("1_0", "null", "007");
        assertThat(TrainConfig.of("adapter.target_modules=[up_proj]").adapter().targetModules()).isEqualTo(TargetModules.of("up_proj"));
        assertThat(TrainConfig.of("adapter.init=a").with("adapter.init=null").adapter().init()).isNull();
    }

    @Test
    void numbersAreReadAsTheirKeysTypes() {
        TrainConfig config = TrainConfig.parse("c.yaml", "seed: 9223372036854775807\nmeta: {iterations: 1_000, inner_lr: .5}\n"
                + "adapter: {rank: '010', alpha: 1e1}\noptimizer: {lr: +1_0e-4, clip: 0e5}", List.of());

        assertThat(config.seed()).isEqualTo(Long.MAX_VALUE);
        assertThat(TrainConfig.of("seed=-9223372036854775808").seed()).isEqualTo(Long.MIN_VALUE);
        assertThat(config.meta().iterations()).isEqualTo(1000);
        assertThat(config.meta().innerLr()).isEqualTo(0.5);
        assertThat(config.adapter().rank()).isEqualTo(10);
        assertThat(config.adapter().alpha()).isEqualTo(10);
        assertThat(config.optimizer().lr()).isEqualTo(1e-3);
        assertThat(config.optimizer().clip()).isZero();
    }

    @Test
    void readsConfigsThatEarlierVersionsWrote() {
        TrainConfig config = TrainConfig.parse("config.resolved.yaml", """
                method: meta-lora
                model: /models/a b
                output: /runs/1
                seed: 3
                adapter:
                  rank: 2
                  alpha: 16.0
                  rslora: false
                  dropout: 0.1
                  target_modules: all-linear
                  init: null
                data:
                  folder: "/tasks/#1"
                  names:
                  - add
                  - 1_0
                  samples_per_task: 0
                  append_eos: true
                optimizer:
                  lr: 5.0E-4
                """, List.of());

        assertThat(config.data().folder()).hasToString("/tasks/#1");
        assertThat(config.data().names()).containsExactly("add", "1_0");
        assertThat(config.adapter().init()).isNull();
        assertThat(config.optimizer().lr()).isEqualTo(5e-4);
    }

    private void refusesTheFile(byte[] content, String message) throws IOException {
        Path file = Files.write(folder.resolve("c.yaml"), content);
        assertThatThrownBy(() -> TrainConfig.read(file, List.of())).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + " ").hasMessageContaining(message);
    }

    @Test
    void saysWhatIsNotUtf8() throws IOException {
        refusesTheFile("seed: 1\n# \u00e9\n".getBytes(StandardCharsets.ISO_8859_1), " is not UTF-8 (line 2, byte 10: 0xE9 is not part of a character); save it as UTF-8");
        refusesTheFile("seed: 1\n\n\u00e9".getBytes(StandardCharsets.ISO_8859_1), " is not UTF-8 (line 3, byte 9: 0xE9 is not part");
        refusesTheFile("\ufeffseed: 1".getBytes(StandardCharsets.UTF_16LE), "is UTF-16 or UTF-32, not UTF-8; convert it");
        refusesTheFile("\ufeffseed: 1".getBytes(StandardCharsets.UTF_16BE), "is UTF-16 or UTF-32, not UTF-8; convert it");
        refusesTheFile("seed: 1".getBytes(StandardCharsets.UTF_16LE), "is UTF-16 or UTF-32, not UTF-8; convert it");
        Path file = Files.writeString(folder.resolve("bom.yaml"), "\ufeffseed: 4");
        assertThat(TrainConfig.read(file, List.of()).seed()).isEqualTo(4);
    }

    @Test
    @Timeout(30)
    void largeFilesTakeTimeByTheirLength() throws IOException {
        String name = "x".repeat(3_900_000);
        Path comment = Files.writeString(folder.resolve("comment.yaml"), "seed: 4\n# " + name + "\nmethod: joint-lora\n");
        assertThat(TrainConfig.read(comment, List.of()).seed()).isEqualTo(4);
        for (String text : List.of("seed: " + name, "seed: " + "1".repeat(3_900_000), "meta: {inner_lr: " + "1".repeat(3_900_000) + "}",
                "\"" + name, "[".repeat(3_900_000), "{".repeat(3_900_000), "? ".repeat(1_900_000), "- ".repeat(1_900_000),
                "a:\n".repeat(1_000_000), "seed: &" + name, "model: |\n" + " x\n".repeat(1_000_000) + "seed: x", "\n".repeat(3_900_000) + "\t@")) {
            Path file = Files.writeString(folder.resolve("large.yaml"), text);
            assertThatThrownBy(() -> TrainConfig.read(file, List.of())).isInstanceOf(InputException.class)
                    .satisfies(e -> assertThat(e.getMessage()).hasSizeLessThan(1000));
        }
        Path larger = Files.writeString(folder.resolve("larger.yaml"), "# " + "x".repeat(4 << 20));
        assertThatThrownBy(() -> TrainConfig.read(larger, List.of())).isInstanceOf(InputException.class).hasMessageContaining("4 MiB");
    }

    @Test
    void absolutePathsLeadWhereTheSystemLeads() throws IOException {
        Path target = Files.createDirectories(folder.resolve("a/b"));
        Path link = Files.createSymbolicLink(folder.resolve("link"), target);

        assertThat(TrainConfig.of("model=" + link + "/../x/./y/..").absolute().model()).isEqualTo(target.toRealPath().getParent().resolve("x"));
        assertThat(TrainConfig.of("model=" + folder + "/none/../x").absolute().model()).isEqualTo(folder.resolve("x"));
        assertThat(TrainConfig.of("model=/../..").absolute().model()).isEqualTo(Path.of("/"));
        assertThat(TrainConfig.of("model=x").absolute().model()).isEqualTo(Path.of("x").toAbsolutePath());
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void readsAPipeOnce() throws IOException, InterruptedException {
        Path pipe = folder.resolve("pipe");
        assertThat(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor()).isZero();
        Thread.ofPlatform().daemon().start(() -> {
            try {
                Files.writeString(pipe, YAML);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        assertThat(TrainConfig.read(pipe, List.of("seed=8"))).isEqualTo(TrainConfig.parse("x", YAML, List.of("seed=8")));
        assertThatThrownBy(() -> TrainConfig.read(Path.of("/dev/zero"), List.of())).isInstanceOf(InputException.class)
                .hasMessageContaining("4 MiB");
    }

    @Test
    void saysWhatIsNoFile() {
        assertThatThrownBy(() -> TrainConfig.read(folder, List.of())).isInstanceOf(InputException.class).hasMessageContaining("is a folder");
    }

    @Test
    void readsAFile() throws IOException {
        Path file = folder.resolve("c.yaml");
        assertThatThrownBy(() -> TrainConfig.read(file, List.of())).isInstanceOf(InputException.class)
                .hasMessageContaining("no such file");
        Files.writeString(file, YAML);
        assertThat(TrainConfig.read(file, List.of())).isEqualTo(TrainConfig.parse("x", YAML, List.of()));
    }

    @Test
    void builtByNameItIsThatOfTheSameFile() {
        TrainConfig built = TrainConfig.builder().method(Method.JOINT_LORA).model(Path.of("models/base")).output(Path.of("runs/one")).seed(7)
                .adapter(adapter -> adapter.rank(4).alpha(8).targetModules(TargetModules.of("q_proj", "v_proj")))
                .data(data -> data.folder(Path.of("tasks")).names("a", "b"))
                .optimizer(optimizer -> optimizer.lr(5e-4).schedule(Schedule.LINEAR)).build();
        assertThat(built).isEqualTo(TrainConfig.parse("c.yaml", YAML, List.of()));
        assertThat(built.toBuilder().seed(8).build()).isEqualTo(built.with("seed=8"));
    }

    @Test
    void howeverItIsMadeItsValuesAreInTheirRange() {
        assertThatThrownBy(() -> TrainConfig.builder().adapter(adapter -> adapter.rank(0)).build()).isInstanceOf(InputException.class)
                .hasMessage("config: adapter.rank is 0, but must be between 1 and 4096");
        TrainConfig d = TrainConfig.DEFAULTS;
        assertThatThrownBy(() -> new TrainConfig(d.method(), null, null, 0, d.adapter(), d.data(), d.meta(), new TrainConfig.Joint(0, 1),
                d.optimizer(), d.compute())).isInstanceOf(InputException.class).hasMessageStartingWith("config: joint.epochs is 0");
        assertThatThrownBy(() -> TrainConfig.builder().compute(compute -> compute.backend(null)).build())
                .isInstanceOf(NullPointerException.class).hasMessage("backend");
    }

    @Test
    void columnsAreASectionOfTheData() {
        TrainConfig config = TrainConfig.parse("c.yaml", "data:\n  columns: {prompt: question}\n  thinking: false\n",
                List.of("data.columns.completion=answer"));

        assertThat(config.data().columns().prompt()).isEqualTo("question");
        assertThat(config.data().columns().completion()).isEqualTo("answer");
        assertThat(config.readOptions().columns()).isEqualTo(config.data().columns());
        assertThat(config.data().thinking()).isFalse();
        assertThatThrownBy(() -> TrainConfig.parse("c.yaml", "data:\n  columns:\n    prompt: q\n    output: a\n", List.of()))
                .isInstanceOf(InputException.class).hasMessageStartingWith("c.yaml:2: data.columns names columns of several forms");
    }
}
