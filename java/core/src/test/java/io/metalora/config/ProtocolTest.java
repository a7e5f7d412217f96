package io.metalora.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.AdapterPart;
import io.metalora.config.Protocol.On;
import io.metalora.config.Protocol.Row;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ProtocolTest {

    private static final String WHOLE = """
            title: All of it
            model: base
            tasks: {trained: data, trained_names: [a, b], unseen_names: [c], dev_from_train: 30, dev_items: 50, test_items: all}
            seeds: [1, 2, 3]
            tuning_seed: 9
            trials: 2
            margin: 2
            settings: {adapter.rank: 4, optimizer: {clip: 0.5}, compute.token_budget: 256}
            arms:
              base:
              shots: {shots: 4, on: [trained, unseen]}
              joint:
                label: joint LoRA
                train: {method: joint-lora, adapter.target_modules: [q_proj, v_proj]}
                grid: [{optimizer.lr: 1e-3}, {optimizer.lr: 2e-3, optimizer.clip: 1}]
              meta:
                train: {}
                adapt: {samples: [8, all], choose_at: 8, epochs: 3, lr: 4e-3}
                on: [unseen]
                grid: [{adapt.lr: 1e-2}, {adapt.steps: 5, adapt.optimizer: sgd}]
            questions:
              - {arm: joint, against: base, on: trained}
              - {ask: better?, arm: meta, against: shots, on: unseen, samples: 8, margin: 5}
            """;

    private static Protocol parse(String yaml) {
        return Protocol.parse("p.yaml", yaml);
    }

    @Test
    void everyKeyIsRead() {
        Protocol protocol = parse(WHOLE);
        assertThat(protocol.title()).isEqualTo("All of it");
        assertThat(protocol.tasks().unseen()).hasValue(new Protocol.Source("data", List.of("c")));
        assertThat(protocol.tasks().devFromTrain()).isEqualTo(30);
        assertThat(protocol.tasks().testItems()).isZero();
        assertThat(protocol.seeds()).containsExactly(1L, 2L, 3L);
        assertThat(protocol.arms().keySet()).containsExactly("base", "shots", "joint", "meta");
        var joint = protocol.arms().get("joint");
        assertThat(joint.label()).isEqualTo("joint LoRA");
        TrainConfig second = joint.grid().get(1).config();
        assertThat(second.method()).isEqualTo(Method.JOINT_LORA);
        assertThat(second.adapter().rank()).isEqualTo(4);
        assertThat(second.adapter().targetModules().toString()).contains("q_proj", "v_proj");
        assertThat(second.optimizer().lr()).isEqualTo(2e-3);
        assertThat(second.optimizer().clip()).as("a trial's setting replaces that of all arms").isEqualTo(1);
        assertThat(joint.grid().get(0).config().optimizer().clip()).isEqualTo(0.5);
        var meta = protocol.arms().get("meta");
        assertThat(meta.rows()).containsExactly(new Row("meta", On.UNSEEN, 8), new Row("meta", On.UNSEEN, 0));
        assertThat(meta.chosenBy()).isEqualTo(new Row("meta", On.UNSEEN, 8));
        assertThat(meta.grid().get(0).adapt()).isEqualTo(new Protocol.FineTune(3, 0, 8, 1e-2, InnerOptimizer.ADAMW, AdapterPart.ALL));
        assertThat(meta.grid().get(1).adapt().steps()).isEqualTo(5);
        assertThat(meta.grid().get(1).adapt().lr()).isEqualTo(4e-3);
        assertThat(meta.grid().get(1).adapt().optimizer()).isEqualTo(InnerOptimizer.SGD);
        assertThat(protocol.arms().get("base").isTuned()).isFalse();
        assertThat(protocol.rows()).hasSize(1 + 2 + 1 + 2);
        var question = protocol.questions().get(1);
        assertThat(question.row()).isEqualTo(new Row("meta", On.UNSEEN, 8));
        assertThat(question.against()).isEqualTo(new Row("shots", On.UNSEEN, Protocol.NO_ADAPTATION));
        assertThat(question.margin()).isEqualTo(5);
        assertThat(protocol.questions().get(0).ask()).isEqualTo("joint on trained against base on trained");
        assertThat(protocol.questions().get(0).margin()).isEqualTo(2);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '~', quoteCharacter = '`', textBlock = """
            model: base ~ modle: base ~ p.yaml:2: unknown key "modle"; did you mean "model"?
            model: base ~ x: ~ unknown key "x"
            seeds: [1, 2, 3] ~ seeds: [1, 1] ~ p.yaml:4: seeds holds a seed twice
            seeds: [1, 2, 3] ~ seeds: [] ~ seeds is an empty list
            seeds: [1, 2, 3] ~ seeds: [1, 9] ~ seeds holds tuning_seed, 9
            seeds: [1, 2, 3] ~ seeds: 1 ~ seeds is a list
            tuning_seed: 9 ~ tuning_seed: [9, 2] ~ seeds holds tuning_seed, 2
            tuning_seed: 9 ~ tuning_seed: [9, 9] ~ tuning_seed holds a seed twice
            tuning_seed: 9 ~ tuning_seed: [] ~ tuning_seed is an empty list
            trials: 2 ~ trials: 3 ~ arms.joint.grid has 2 trials, but every arm has as many as trials says, 3
            margin: 2 ~ margin: -1 ~ margin is -1.0
            dev_items: 50 ~ dev_items: 0 ~ tasks.dev_items is 0, but is a number from 1 on, or all
            trained_names: [a, b], ~ `` ~ are the same folder
            model: base ~ `` ~ model is missing
            shots: 4 ~ shots: 4, train: {} ~ an arm that trains or adapts has none
            shots: 4 ~ shots: -1 ~ arms.shots.shots is -1
            shots: 4 ~ grid: [{}] ~ there is nothing to try
            on: [trained, unseen] ~ on: [seen] ~ arms.shots.on
            on: [trained, unseen] ~ on: [] ~ arms.shots.on is [trained], [unseen] or both
            unseen_names: [c], ~ `` ~ names unseen tasks, but there is no tasks.unseen
            method: joint-lora ~ method: separate-lora ~ LoRA of each task is an arm with adapt and without train
            on: [trained, unseen] ~ track: 2 ~ arms.shots.track: the arm does not train
            label: joint LoRA ~ track: -1 ~ arms.joint.track is -1
            method: joint-lora ~ method: jont ~ p.yaml:15: arms.joint.grid
            method: joint-lora ~ seed: 1 ~ seed is set by the comparison itself
            method: joint-lora ~ adapter.init: x ~ adapter.init is set by the comparison itself
            method: joint-lora ~ compute.token_budget: 9 ~ is the same for all arms; set it in settings
            compute.token_budget: 256 ~ compute.threads: 2 ~ is chosen on the command line
            optimizer.lr: 2e-3, optimizer.clip: 1 ~ optimizer.lr: 1e-3 ~ holds the same trial twice
            optimizer.lr: 2e-3 ~ optimizer.rl: 2e-3 ~ unknown key "optimizer.rl"
            optimizer.lr: 2e-3 ~ adapt.lr: 2e-3 ~ sets adapt.lr, but the arm does not adapt
            samples: [8, all] ~ samples: [8, 8] ~ holds a number twice
            samples: [8, all] ~ samples: [] ~ is an empty list
            samples: [8, all] ~ samples: [0] ~ is 0, but is a number from 1 on, or all
            choose_at: 8 ~ choose_at: 9 ~ arms.meta.adapt.choose_at is none of arms.meta.adapt.samples
            epochs: 3 ~ epochs: 0 ~ arms.meta.adapt.epochs is 0
            lr: 4e-3} ~ lr: 0} ~ arms.meta.adapt.lr is 0.0
            adapt.optimizer: sgd ~ adapt.optimiser: sgd ~ unknown key
            adapt.optimizer: sgd ~ adapt.adapts: heads-and-router ~ but adapters of adapter.kind: lora have no router; use all or b
            arm: joint ~ arm: jiont ~ there is no arm "jiont"; did you mean joint?
            samples: 8, margin ~ margin ~ which row of meta is meant
            samples: 8, margin ~ samples: 9, margin ~ no row of meta is meant
            against: base ~ against: joint ~ a row is compared with itself
            """)
    void whatCanNotBeIsRefusedWithItsPlace(String part, String instead, String message) {
        assertThat(WHOLE).contains(part);
        String yaml = WHOLE.replaceFirst(Pattern.quote(part), instead == null ? "" : Matcher.quoteReplacement(instead));
        assertThatThrownBy(() -> parse(yaml)).isInstanceOf(InputException.class).hasMessageStartingWith("p.yaml:").hasMessageContaining(message);
    }

    @Test
    void anArmOfOneAForAllTasksAnswersThoseItWasTrainedOn() {
        String arm = "train: {method: joint-lora, adapter.target_modules: [q_proj, v_proj]}";
        String asymmetric = WHOLE.replace(arm, "train: {method: asymmetric-lora}");
        assertThat(parse(asymmetric).arms().get("joint").grid().get(0).config().method()).isEqualTo(Method.ASYMMETRIC_LORA);
        assertThatThrownBy(() -> parse(WHOLE.replace(arm, "train: {method: asymmetric-lora}\n    on: [trained, unseen]")))
                .hasMessageContaining("p.yaml:15: arms.joint.on: method is asymmetric-lora");
        assertThatThrownBy(() -> parse(WHOLE.replace(arm, "train: {method: asymmetric-lora}\n    track: 3")))
                .hasMessageContaining("p.yaml:15: arms.joint.track: method is asymmetric-lora");
        assertThatThrownBy(() -> parse(WHOLE.replace("train: {}", "train: {method: asymmetric-lora}")))
                .hasMessageContaining("arms.meta.grid: method is asymmetric-lora").hasMessageContaining("leave adapt out");
        assertThat(parse(WHOLE.replace(arm, arm + "\n    track: 3")).arms().get("joint").track()).isEqualTo(3);
    }

    /** They are the settings of all arms, also of those that neither train nor adapt. */
    @Test
    void aSettingThatIsNoneIsRefusedWhateverTheArms() {
        assertThatThrownBy(() -> Protocol.parse("p.yaml", """
                model: base
                tasks: {trained: data}
                seeds: [1]
                settings: {adapter.rnk: 8}
                arms:
                  base:
                """)).isInstanceOf(InputException.class).hasMessageContainingAll("p.yaml:6: arms.base", "unknown key \"adapter.rnk\"");
    }

    @Test
    void namesOfArmsAreThoseOfFolders() {
        assertThatThrownBy(() -> parse(WHOLE.replace("  joint:\n", "  ../joint:\n"))).hasMessageContaining("the arm \"../joint\"");
        assertThatThrownBy(() -> parse("model: x\n")).hasMessageContaining("tasks is missing");
        assertThatThrownBy(() -> parse("")).hasMessageContaining("is empty");
    }

    /** A key that is renamed must not leave them behind, and they are of no machine. */
    @Test
    void everyProtocolOfTheRepositoryIsReadAndNamesNoFolderOfAMachine() throws IOException {
        try (var files = Files.list(Path.of("../../bench/protocols"))) {
            List<Protocol> protocols = files.filter(file -> file.toString().endsWith(".yaml"))
                    .map(file -> Protocol.parse(file.getFileName().toString(), Protocol.text(file))).toList();
            assertThat(protocols).hasSizeGreaterThanOrEqualTo(12).allSatisfy(protocol -> {
                assertThat(protocol.questions()).isNotEmpty();
                assertThat(Path.of(protocol.model())).isRelative();
                assertThat(Path.of(protocol.tasks().trained().folder())).isRelative();
            });
        }
    }
}
