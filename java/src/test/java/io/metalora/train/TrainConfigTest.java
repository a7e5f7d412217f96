package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.TargetModules;
import io.metalora.runtime.Backend;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

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
            `adapter:\\n  rank: 2.5`           | c.yaml:2: adapter.rank: expected a whole number, but is 2.5
            `adapter:\\n  alpha: big`          | c.yaml:2: adapter.alpha: expected a number, but is "big"
            `adapter:\\n  rslora: 1`           | c.yaml:2: adapter.rslora: expected true or false, but is 1
            `data: {names: {a: 1}}`            | c.yaml:1: data.names is a value, it has no keys of its own
            `data: {names: all}`               | c.yaml:1: data.names: expected a list of names, but is "all"
            `adapter:\\n\\n  rank: 0`          | c.yaml:3: adapter.rank is 0, but must be between 1 and 4096
            `adapter:\\n  rank:`               | c.yaml:2: adapter.rank has no value
            `adapter: 3`                       | c.yaml:1: adapter is a section with keys of its own, not a value
            `seed: {a: 1}`                     | c.yaml:1: seed is a value, it has no keys of its own
            `adapter:\\n  dropout: 1`          | c.yaml:2: adapter.dropout is 1.0, but must be at least 0 and below 1
            `adapter:\\n  target_modules: []`  | c.yaml:2: adapter.target_modules: target_modules is empty
            `adapter:\\n  target_modules: "("` | c.yaml:2: adapter.target_modules: target_modules "(" is not a regular expression
            `method: maml`                     | c.yaml:1: method: "maml" is not one of meta-lora, joint-lora
            `optimizer:\\n  lr: -1`            | c.yaml:2: optimizer.lr is -1.0, but must be at least 0 and finite
            `optimizer:\\n  lr: .nan`          | c.yaml:2: malformed YAML
            `meta:\\n  support_size: 0`        | c.yaml:2: meta.support_size is 0, but must be at least 1 with 3 inner steps
            `meta:\\n  tasks_per_iteration: 2147483647` | c.yaml:2: meta.tasks_per_iteration is 2147483647, but must be between 1 and 4096
            `meta:\\n  inner_steps: 2147483647` | c.yaml:2: meta.inner_steps is 2147483647, but must be between 0 and 10000
            `compute:\\n  threads: 1025`      | c.yaml:2: compute.threads is 1025, but must be between 0 (all cores) and 1024
            `optimizer: {warmup_steps: 3, warmup_ratio: 0.1}` | can't be set together with optimizer.warmup_steps
            `- a`                              | c.yaml:1: expected keys and values
            `seed: [1`                         | malformed YAML
            `seed: 1\\n---\\nseed: 2`          | a second document begins
            """)
    void namesFileLineKeyAndWhatIsWrong(String yaml, String message) {
        assertThatThrownBy(() -> TrainConfig.parse("c.yaml", yaml.replace("\\n", "\n"), List.of()))
                .isInstanceOf(InputException.class).hasMessageContaining(message.strip()).hasMessageStartingWith("c.yaml:")
                .satisfies(e -> assertThat(e.getMessage()).doesNotContain("com.fasterxml", "java."));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            seed                | override "seed" is not of the form key=value
            meta.steps=3        | override meta.steps=3: unknown key "meta.steps"; did you mean "meta.
            meta=3              | override meta=3: meta is a section
            seed.x=3            | override seed.x=3: seed is a value, it has no key "x"
            seed=               | override seed=: seed has no value
            seed=one            | override seed=one: seed: expected a whole number, but is "one"
            meta.query_size=0   | override meta.query_size=0: meta.query_size is 0, but must be at least 1
            """)
    void namesTheOverrideThatIsWrong(String override, String message) {
        assertThatThrownBy(() -> TrainConfig.of(override)).isInstanceOf(InputException.class).hasMessageStartingWith(message.strip());
    }

    @Test
    void readsAFile() throws IOException {
        Path file = folder.resolve("c.yaml");
        assertThatThrownBy(() -> TrainConfig.read(file, List.of())).isInstanceOf(InputException.class)
                .hasMessageContaining("no such file");
        Files.writeString(file, YAML);
        assertThat(TrainConfig.read(file, List.of())).isEqualTo(TrainConfig.parse("x", YAML, List.of()));
    }
}
