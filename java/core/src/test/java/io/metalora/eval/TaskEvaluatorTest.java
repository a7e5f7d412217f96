package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.GenerationOptions;
import io.metalora.model.Generator;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Device;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against the plain way to the same answer: every label scored by itself, every token generated one by one. */
class TaskEvaluatorTest {

    private Device device;
    private CausalLM model;
    private TextTokenizer tokenizer;

    @BeforeEach
    void load() {
        device = Device.cpu();
        model = CausalLM.load(fixture("model"), device, LoadOptions.defaults());
        tokenizer = TextTokenizer.load(fixture("model"));
    }

    @AfterEach
    void close() {
        tokenizer.close();
        device.close();
    }

    private static Path fixture(String name) {
        try {
            return Path.of(TaskEvaluatorTest.class.getResource("/fixture/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static Task task(List<String> labels) {
        var random = new SplittableRandom(5);
        var words = List.of("the", "river", "team", "law", "cold", "water", "ja", "nein", "match");
        var examples = new ArrayList<Example>();
        for (int i = 0; i < 40; i++) {
            var prompt = new StringBuilder("p");
            for (int w = 0; w < 1 + random.nextInt(6); w++) {
                prompt.append(' ').append(words.get(random.nextInt(words.size())));
            }
            examples.add(new Example(prompt.toString(), labels.get(i % labels.size()), "test:" + i));
        }
        return new Task("t", examples, List.of(), examples);
    }

    /** The label of the highest score for every example, each label scored in full; with an end token where asked. */
    private boolean[] byScoringAll(Task task, List<String> labels, AdapterSlots slots, boolean end) {
        var encoder = end ? ExampleEncoder.forTraining(tokenizer, model.config()) : ExampleEncoder.forScoring(tokenizer, model.config());
        boolean[] correct = new boolean[task.test().size()];
        try (var scorer = new Scorer(model, slots)) {
            for (int i = 0; i < correct.length; i++) {
                Example example = task.test().get(i);
                var alternatives = labels.stream().map(label -> encoder.encode(new Example(example.prompt(), label, "x"))).toList();
                var scores = scorer.score(alternatives, tokens -> { });
                int best = 0;
                for (int label = 1; label < labels.size(); label++) {
                    if (scores.get(label).logprob() > scores.get(best).logprob()) {
                        best = label;
                    }
                }
                correct[i] = labels.get(best).equals(example.completion());
            }
        }
        return correct;
    }

    private void ranksAsScoringAllDoes(List<String> labels, boolean end) {
        Task task = task(labels);
        try (var adapter = LoraAdapter.load(fixture("adapter"), model.config(), device)) {
            for (boolean adapted : new boolean[] {false, true}) {
                try (var slots = adapted ? AdapterSlots.of(adapter) : null;
                        var evaluator = new TaskEvaluator(model, tokenizer, slots)) {
                    TaskResult result = evaluator.evaluate(task, Split.TEST, tokens -> { });
                    assertThat(result.method()).isEqualTo(TaskResult.Method.RANKING);
                    assertThat(result.labels()).isEqualTo(labels.size());
                    assertThat(result.correct()).isEqualTo(byScoringAll(task, labels, slots, end));
                    assertThat(result.right()).as("a test that can fail needs both").isBetween(1, 39);
                }
            }
        }
    }

    @Test
    void labelsOfOneAndOfMoreTokens() {
        ranksAsScoringAllDoes(List.of(" politics", " science", " sports", "!", "b", " yes"), false);
    }

    @Test
    void labelsThatShareTheirBeginning() {
        ranksAsScoringAllDoes(List.of(" sports a", " sports b", " sports c", " spot"), false);
    }

    @Test
    void aLabelThatBeginsAnotherIsClosedByTheEnd() {
        ranksAsScoringAllDoes(List.of(" the", " the law", " the law!"), true);
    }

    @Test
    void rankingReadsFarFewerTokensThanScoringAll() {
        // Labels of one token are ranked by the prompts' pass alone.
        var labels = new ArrayList<String>();
        for (int id = 2; labels.size() < 8; id++) {
            String label = tokenizer.decode(new int[] {id}, true);
            if (Arrays.equals(tokenizer.encode(label, false), new int[] {id})) {
                labels.add(label);
            }
        }
        Task task = task(labels);
        long[] read = new long[1];
        try (var evaluator = new TaskEvaluator(model, tokenizer, null)) {
            evaluator.evaluate(task, Split.TEST, tokens -> read[0] += tokens);
        }
        var encoder = ExampleEncoder.forScoring(tokenizer, model.config());
        long all = encoder.encode(task.test()).stream().mapToLong(example -> 8L * example.length()).sum();
        assertThat(read[0]).isLessThan(all / 4);
    }

    @Test
    void openAnswersAreThoseOfGreedyDecoding() {
        // What the model says by itself, token by token, is right; the same with another last token is wrong.
        var examples = new ArrayList<Example>();
        var expected = new ArrayList<Boolean>();
        var random = new SplittableRandom(9);
        List<Integer> end = model.config().eosTokenIds();
        try (var generator = new Generator(model, null, 90)) {
            for (int i = 0; examples.size() < 24 && i < 4000; i++) {
                int[] prompt = random.ints(4, 2, 320).toArray();
                int[] said = generator.generate(prompt, new GenerationOptions(12, 0, 1, 0, end));
                String text = tokenizer.decode(prompt, true);
                String answer = tokenizer.decode(said, true);
                boolean faithful = said.length > 0 && Arrays.equals(tokenizer.encode(answer, false), said);
                int[] read = tokenizer.encode(text, true);
                if (faithful && Arrays.equals(Arrays.copyOfRange(read, 1, read.length), prompt)) {
                    int[] again = generator.generate(read, new GenerationOptions(40, 0, 1, 0, end));
                    examples.add(new Example(text, tokenizer.decode(again, true).isEmpty() ? answer : tokenizer.decode(again, true),
                            "x:" + examples.size()));
                    int[] wanted = tokenizer.encode(examples.getLast().completion(), false);
                    expected.add(Arrays.equals(wanted, again) && again.length < 40);
                }
            }
        }
        Task task = new Task("t", List.of(), List.of(), examples);
        try (var evaluator = new TaskEvaluator(model, tokenizer, null)) {
            TaskResult result = evaluator.evaluate(task, Split.TEST, tokens -> { });
            assertThat(result.method()).isEqualTo(TaskResult.Method.EXACT_MATCH);
            for (int i = 0; i < examples.size(); i++) {
                assertThat(result.correct()[i]).as("example %d: %s", i, examples.get(i)).isEqualTo(expected.get(i));
            }
        }
    }

    // ---- many tasks at once

    /** Tasks of several kinds and sizes: one takes several pieces, several go into one. */
    private static List<TaskItems> many() {
        var tasks = new ArrayList<TaskItems>();
        var labels = List.of(List.of(" politics", " science", " sports"), List.of(" the", " the law"), List.of(" yes", "!"));
        for (int t = 0; t < 12; t++) {
            Task task = task(labels.get(t % 3));
            List<Example> test = new ArrayList<>(task.test().subList(0, 3 + t));
            for (int i = 0; t == 5 && i < 60; i++) {
                test.addAll(task.test()); // its characters are of several pieces
            }
            if (t == 7) { // open answers: more different ones than a label set has
                test = IntStream.range(0, 40).mapToObj(i -> new Example("say " + i, " " + i, "x:" + i)).toList();
            }
            tasks.add(TaskItems.of(new Task("t" + t, test, List.of(), test), Split.TEST, 0));
        }
        return tasks;
    }

    private void alone(TaskItems task, AdapterSlots slots, TaskResult together) {
        try (var evaluator = new TaskEvaluator(model, tokenizer, slots)) {
            assertThat(together.correct()).as(task.task())
                    .isEqualTo(evaluator.evaluate(List.of(new TaskEvaluator.Block(task, 0, task.size(), 0)), tokens -> { }).getFirst());
        }
    }

    @Test
    void tasksTogetherAreAnsweredAsOneByOne() {
        var tasks = many();
        assertThat(tasks.get(5).characters()).isGreaterThan(1 << 15);
        var log = EvaluationLog.inMemory(tasks);
        long[] answered = new long[2];
        try (var evaluator = new TaskEvaluator(model, tokenizer, null)) {
            evaluator.evaluate("arm", tasks, task -> 0, log, new TaskEvaluator.Listener() {
                @Override
                public void read(long tokens) {
                }

                @Override
                public void answered(long items) {
                    answered[0] += items;
                    answered[1]++;
                    assertThat(log.answered("arm")).isEqualTo(answered[0]);
                }
            });
        }
        assertThat(answered[0]).isEqualTo(tasks.stream().mapToLong(TaskItems::size).sum());
        assertThat(answered[1]).as("pieces").isBetween(2L, 6L);
        for (int t = 0; t < tasks.size(); t++) {
            alone(tasks.get(t), null, log.results("arm").get(t));
        }
    }

    @Test
    void everyTaskIsAskedOfItsOwnSlot() {
        var tasks = many();
        try (var adapter = LoraAdapter.load(fixture("adapter"), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), tasks.size(), false)) {
            float[] parameters = adapter.parameters().toFloats();
            float[] all = new float[tasks.size() * parameters.length];
            for (int t = 0; t < tasks.size(); t++) {
                for (int i = 0; i < parameters.length; i++) {
                    all[t * parameters.length + i] = parameters[i] * t / 3;
                }
            }
            slots.parameters().upload(all);
            var log = EvaluationLog.inMemory(tasks);
            try (var evaluator = new TaskEvaluator(model, tokenizer, slots)) {
                evaluator.evaluate("arm", tasks, task -> task, log, TaskEvaluator.Listener.SILENT);
            }
            for (int t = 0; t < tasks.size(); t++) {
                adapter.parameters().upload(Arrays.copyOfRange(all, t * parameters.length, (t + 1) * parameters.length));
                try (var own = AdapterSlots.of(adapter)) {
                    alone(tasks.get(t), own, log.results("arm").get(t));
                }
            }
        }
    }

    /** Stopped at every pass in turn, and gone on with: every item is answered once, and as if it had never been stopped. */
    @Test
    void stoppedAndGoneOnWith() {
        var tasks = many();
        var whole = EvaluationLog.inMemory(tasks);
        try (var evaluator = new TaskEvaluator(model, tokenizer, null)) {
            evaluator.evaluate("arm", tasks, task -> 0, whole, TaskEvaluator.Listener.SILENT);
        }
        var log = EvaluationLog.inMemory(tasks);
        int stops = 0;
        for (int passes = 1; log.results("arm").size() < tasks.size(); passes++) {
            int[] left = {passes};
            try (var evaluator = new TaskEvaluator(model, tokenizer, null, () -> left[0]-- == 0)) {
                evaluator.evaluate("arm", tasks, task -> 0, log, TaskEvaluator.Listener.SILENT);
            } catch (CancellationException e) {
                stops++;
            }
        }
        assertThat(stops).isPositive();
        for (int t = 0; t < tasks.size(); t++) {
            assertThat(log.results("arm").get(t).correct()).isEqualTo(whole.results("arm").get(t).correct());
        }
    }
}
