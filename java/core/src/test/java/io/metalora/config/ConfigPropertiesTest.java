package io.metalora.config;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.TargetModules;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.InputException;
import io.metalora.runtime.InstructionSet;
import io.metalora.task.Columns;
import io.metalora.task.ContentSplit;
import io.metalora.task.OverLength;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;

/** Whatever is accepted is written so that it reads back as the same. */
class ConfigPropertiesTest {

    @Property(tries = 300)
    void aConfigReadsBackAsItself(@ForAll("configs") TrainConfig config) {
        String yaml = config.toYaml();
        assertThat(TrainConfig.parse("resolved", yaml, List.of())).as(yaml).isEqualTo(config);
        assertThat(TrainConfig.parse("resolved", yaml, List.of()).toYaml()).isEqualTo(yaml);
        TrainConfig absolute = config.absolute();
        assertThat(TrainConfig.parse("resolved", absolute.toYaml(), List.of())).isEqualTo(absolute);
    }

    /** As a user would set it: in single quotes, in which YAML knows no escapes, and on the command line. */
    @Property(tries = 300)
    void aTextOnOneLineIsTakenAsItStands(@ForAll("texts") String text) {
        if (text.isEmpty() || !isPath(text) || text.codePoints().anyMatch(c -> Character.isISOControl(c) || c > 0xFFF)) {
            return;
        }
        assertThat(TrainConfig.parse("c.yaml", "output: '" + text.replace("'", "''") + "'", List.of()).output()).hasToString(text);
        if (!text.strip().startsWith("'") && !text.strip().startsWith("\"") && !text.matches("(?i)~|null")) {
            assertThat(TrainConfig.of("output=" + text).output()).hasToString(text);
        }
    }

    @Property(tries = 300)
    void anythingElseIsBadInput(@ForAll("texts") String name, @ForAll("texts") String value) {
        for (String yaml : List.of(name + ": " + value, "output: " + value, "data:\n  names: [" + name + ", " + value + "]",
                "adapter:\n  " + name + "\n  rank: " + value)) {
            try {
                TrainConfig config = TrainConfig.parse("c.yaml", yaml, List.of());
                assertThat(TrainConfig.parse("resolved", config.toYaml(), List.of())).isEqualTo(config);
            } catch (InputException e) {
                assertThat(e.getMessage()).matches("(?s)c\\.yaml:\\d+: .*").doesNotContain("java.", "Exception", "<block");
                assertThat(e.getMessage().lines()).hasSize(1);
            }
        }
    }

    private static boolean isPath(String text) {
        try {
            return Path.of(text).toString().equals(text);
        } catch (InvalidPathException e) {
            return false;
        }
    }

    @Provide
    static Arbitrary<String> texts() {
        Arbitrary<String> traps = Arbitraries.of("1_0", "1e3", "0x10", "0o7", "007", "1_000", "no", "yes", "on", "true", "null", "~", "1:30",
                "2026_11_26", "2026-11-26", ".inf", ".NaN", "-", "- a", "---", "...", "<<", "=", "?", ": ", "a: b", "#", " #x", "a #b", "'",
                "\"", "''", "\\", "\\n", "%", "@", "`", "&a", "*a", "!t", "!!str", "|", ">", "[", "]", "{", "}", ",", "[a]", "{a: b}", " ", "\t",
                "\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029", "\ufeff", "\u0001", "\u001b[31m", "\u007f", "\u00a0", "é", "e\u0301", "中", "😀",
                "\ud83d\ude00\u200d", "\uffff", "\ud800", "all-linear", "model", "seed: 1", "${HOME}", "%YAML 1.1");
        Arbitrary<String> any = Arbitraries.strings().all().ofMaxLength(8);
        return Arbitraries.frequencyOf(net.jqwik.api.Tuple.of(3, traps), net.jqwik.api.Tuple.of(1, any)).list().ofMinSize(1).ofMaxSize(4)
                .map(parts -> String.join("", parts));
    }

    private static Arbitrary<Path> paths() {
        return texts().filter(text -> !text.isEmpty() && isPath(text)).map(Path::of).injectNull(0.1);
    }

    private static Arbitrary<TargetModules> targets() {
        return Arbitraries.oneOf(Arbitraries.of(TargetModules.allLinear()), texts().filter(text -> !text.isBlank()).list().ofMinSize(1)
                .ofMaxSize(3).map(TargetModules::of), texts().filter(ConfigPropertiesTest::isRegex).map(TargetModules::ofString));
    }

    private static boolean isRegex(String text) {
        try {
            TargetModules.ofString(text);
            return true;
        } catch (InputException e) {
            return false;
        }
    }

    /** How files are read. */
    private record Reading(Columns columns, boolean thinking) {}

    private static Arbitrary<Double> shares() {
        return Arbitraries.doubles().between(0, 0.4);
    }

    private static Arbitrary<Double> positive() {
        return Arbitraries.doubles().between(1e-37, false, 1, true).ofScale(40);
    }

    @Provide
    static Arbitrary<TrainConfig> configs() {
        Arbitrary<TrainConfig.Adapter> adapter = Combinators.combine(
                Arbitraries.of(AdapterKind.class), Arbitraries.integers().between(1, 4096), Arbitraries.integers().between(1, 16),
                Arbitraries.floats().between(1e-30f, true, 1e30f, true).ofScale(38), Arbitraries.of(true, false),
                Arbitraries.floats().between(0, true, 0.99f, true).ofScale(9), targets(), paths()).as(TrainConfig.Adapter::new);
        Arbitrary<TrainConfig.Data> data = Combinators.combine(paths(), texts().filter(text -> !text.isEmpty()).list().uniqueElements().ofMaxSize(4),
                Arbitraries.integers().greaterOrEqual(0), Arbitraries.of(true, false), Arbitraries.integers().greaterOrEqual(0),
                Arbitraries.of(OverLength.class), Combinators.combine(shares(), shares()).as(ContentSplit::new),
                Combinators.combine(Combinators.combine(texts().injectNull(0.3), texts().injectNull(0.3)).as((prompt, completion) -> new Columns(
                        prompt, completion, null, null, null, null)), Arbitraries.of(true, false)).as(Reading::new)).as((folder, names, samples,
                        appendEos, maxLength, overLength, split, reading) -> new TrainConfig.Data(folder, names, samples, appendEos, maxLength,
                        overLength, split, reading.columns, reading.thinking));
        Arbitrary<TrainConfig.Meta> meta = Combinators.combine(Arbitraries.longs().greaterOrEqual(1), Arbitraries.integers().between(1, 4096),
                Arbitraries.integers().greaterOrEqual(1), Arbitraries.integers().greaterOrEqual(1), Arbitraries.integers().between(0, 10_000),
                Arbitraries.of(InnerOptimizer.class), positive(), Arbitraries.of(AggregationRule.class)).as((iterations, tasks, support, query,
                        steps, optimizer, lr, rule) -> new TrainConfig.Meta(iterations, tasks, support, query, steps,
                                AdapterPart.ALL, optimizer, lr, List.of(), 0, 0, OuterDirection.FIRST_ORDER,
                                tasks < 2 ? CompositionRule.UNIFORM : CompositionRule.values()[rule.ordinal()], 1 + steps,
                                tasks < 2 || tasks > 256 ? AggregationRule.MEAN : rule, Math.min(lr, 0.9), null, support / 2));
        Arbitrary<TrainConfig.Optimizer> optimizer = Combinators.combine(positive(), positive(), Arbitraries.of(Schedule.class),
                Arbitraries.longs().greaterOrEqual(0)).as((lr, eps, schedule, warmup) ->
                        new TrainConfig.Optimizer(lr, 0.9, 0.999, eps, lr, 0, schedule, warmup, 0, 0));
        Arbitrary<TrainConfig.Compute> compute = Combinators.combine(Arbitraries.of(Backend.class), Arbitraries.integers().between(0, 1024),
                Arbitraries.of(InstructionSet.class), Arbitraries.of(Arithmetic.class),
                Arbitraries.of(WeightStorage.AUTO, WeightStorage.BF16), Arbitraries.integers().between(2, 1 << 24), Arbitraries.integers().greaterOrEqual(1))
                .as(TrainConfig.Compute::new);
        Arbitrary<TrainConfig> head = Combinators.combine(Arbitraries.of(Method.class), paths(), paths(), Arbitraries.longs()).as(
                (method, model, output, seed) -> TrainConfig.builder().method(method).model(model).output(output).seed(seed).build());
        return Combinators.combine(head, adapter, data, meta, optimizer, compute).as((h, a, d, m, o, c) -> new TrainConfig(of(h.method(), a), h.model(),
                h.output(), h.seed(), a, d, m, h.joint(), o, c));
    }

    /** Asymmetric LoRA has no mixtures. */
    private static Method of(Method method, TrainConfig.Adapter adapter) {
        return method == Method.ASYMMETRIC_LORA && adapter.kind() == AdapterKind.MIXTURE ? Method.JOINT_LORA : method;
    }
}
