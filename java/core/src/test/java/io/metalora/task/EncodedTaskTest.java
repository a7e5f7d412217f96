package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class EncodedTaskTest {

    private final ExampleEncoder encoder = ExampleEncoder.forTraining((text, special) -> text.chars().toArray(), 100, 60000, 0);

    private static Task task(int samples) {
        return new Task("t", IntStream.range(0, samples).mapToObj(i -> new Example("p", "" + (char) (200 + i), "t:" + i)).toList(),
                List.of(), List.of());
    }

    @Test
    void takesASeededSubset() {
        EncodedTask some = EncodedTask.encode(task(100), encoder, 10, 1);

        assertThat(some.lines()).hasSize(10).isSorted().doesNotHaveDuplicates();
        for (int i = 0; i < 10; i++) {
            assertThat(some.examples().get(i).ids()).containsExactly('p', 200 + some.lines()[i], 0);
        }
        assertThat(EncodedTask.encode(task(100), encoder, 10, 1).lines()).isEqualTo(some.lines());
        assertThat(EncodedTask.encode(task(100), encoder, 10, 2).lines()).isNotEqualTo(some.lines());
        assertThat(Arrays.stream(EncodedTask.encode(task(100), encoder, 30, 1).lines()).boxed())
                .containsAll(Arrays.stream(some.lines()).boxed().toList());
    }

    @Test
    void takesAllWhereThereAreNoMore() {
        assertThat(EncodedTask.encode(task(3), encoder, 0, 1).lines()).containsExactly(0, 1, 2);
        assertThat(EncodedTask.encode(task(3), encoder, 5, 1).lines()).containsExactly(0, 1, 2);
    }

    @Test
    void refusesATaskWithoutTrainingExamples() {
        assertThatThrownBy(() -> EncodedTask.encode(task(0), encoder, 0, 1)).isInstanceOf(InputException.class)
                .hasMessageContaining("task t has no train.jsonl");
    }

    /** Example i has i + 3 tokens: prompt, i + 1 characters of completion, end. */
    private static Task growing(String name, int samples) {
        return new Task(name, IntStream.range(0, samples).mapToObj(i -> new Example("p", "c".repeat(i + 1), name + ":" + (i + 1))).toList(),
                List.of(), List.of());
    }

    private final ExampleEncoder narrow = encoder.within(7, "compute.token_budget");

    @Test
    void saysAllThatAreTooLongAtOnce() {
        assertThatThrownBy(() -> EncodedTask.encode(List.of(growing("a", 8), growing("b", 9)), narrow, 0, 1, OverLength.REFUSE)).isInstanceOf(InputException.class)
                .hasMessage("7 examples have more tokens than compute.token_budget of 7 (which can be raised up to"
                        + " the model's context of 100), the longest 11: a:6 (8), a:7 (9), a:8 (10), b:6 (8), b:7 (9)"
                        + ", b:8 (10), b:9 (11); shorten or remove them, or leave such examples out with data.over_length: drop");
        assertThatThrownBy(() -> EncodedTask.encode(List.of(growing("a", 6)), narrow, 0, 1)).isInstanceOf(InputException.class)
                .hasMessageStartingWith("a:6: 8 tokens are more than compute.token_budget of 7");
    }

    /** Each with its length, up to a number that a message can hold; of the others how many each task has. */
    @Test
    void countsThoseThatAreTooManyToBeNamed() {
        List<Task> tasks = List.of(allLong("a", 200), allLong("b", 150), allLong("c", 70));
        assertThatThrownBy(() -> EncodedTask.encode(tasks, narrow, 0, 1, OverLength.REFUSE)).isInstanceOf(InputException.class)
                .hasMessageStartingWith("420 examples have more tokens than")
                .hasMessageContaining(", the longest 10: a/train.jsonl:1 (10), ")
                .hasMessageContaining("a/train.jsonl:200 (10), b/train.jsonl:1 (10)")
                .hasMessageContaining("b/train.jsonl:100 (10) and 120 more: 50 of b/train.jsonl, 70 of c/train.jsonl; shorten");
    }

    /** Samples of ten tokens. */
    private static Task allLong(String name, int samples) {
        return new Task(name, IntStream.rangeClosed(1, samples)
                .mapToObj(i -> new Example("p", "cccccccc", name + "/train.jsonl:" + i)).toList(), List.of(), List.of());
    }

    @Test
    void leavesOutWhatIsTooLong() {
        EncodedTask all = EncodedTask.encode(List.of(growing("a", 8)), narrow, 0, 1, OverLength.DROP).getFirst();
        assertThat(all.lines()).containsExactly(0, 1, 2, 3, 4);
        assertThat(all.dropped()).isEqualTo(3);
        assertThat(all.examples()).extracting(EncodedExample::length).containsExactly(3, 4, 5, 6, 7);
    }

    /** A subset is as large as it can be, and part of a larger one; where nothing is too long, it is what it was. */
    @Test
    void takesTheNextOfASubsetInPlaceOfWhatIsTooLong() {
        List<Integer> before = List.of();
        for (int samples = 1; samples <= 6; samples++) {
            EncodedTask some = EncodedTask.encode(List.of(growing("a", 8)), narrow, samples, 5, OverLength.DROP).getFirst();
            var lines = Arrays.stream(some.lines()).boxed().toList();
            assertThat(lines).hasSize(Math.min(samples, 5)).isSorted().containsAll(before).allMatch(line -> line < 5);
            before = lines;
            assertThat(EncodedTask.encode(task(50), encoder, samples, 5).lines())
                    .isEqualTo(EncodedTask.encode(List.of(task(50)), encoder, samples, 5, OverLength.DROP).getFirst().lines());
        }
    }

    /** Puts 1 before a text, and has a token for each character. */
    private static int[] withBeginning(String text, boolean addSpecialTokens) {
        return IntStream.concat(addSpecialTokens ? IntStream.of(1) : IntStream.empty(), text.chars()).toArray();
    }

    @Test
    void truncationCutsThePromptsBeginningAlone() {
        var task = new Task("a", List.of(new Example("abcdef", "xy", "a:1"), new Example("abc", "xy", "a:2"), new Example("abcd", "xy", "a:3")),
                List.of(), List.of());
        ExampleEncoder seven = ExampleEncoder.forTraining(EncodedTaskTest::withBeginning, 100, 1000, 2).within(7, "data.max_length").truncating();
        EncodedTask cut = EncodedTask.encode(List.of(task), seven, 0, 1, OverLength.TRUNCATE).getFirst();
        assertThat(cut.truncated()).isEqualTo(2);
        assertThat(cut.dropped()).isZero();
        assertThat(cut.examples()).extracting(EncodedExample::ids).containsExactly(new int[] {1, 'd', 'e', 'f', 'x', 'y', 2},
                new int[] {1, 'a', 'b', 'c', 'x', 'y', 2}, new int[] {1, 'b', 'c', 'd', 'x', 'y', 2});
        assertThat(cut.examples()).extracting(EncodedExample::lossTokens).containsOnly(3);
    }

    @Test
    void truncationRefusesACompletionThatLeavesNoRoom() {
        var task = new Task("a", List.of(new Example("ab", "vwxy", "a:1"), new Example("ab", "uvwxy", "a:2")), List.of(), List.of());
        ExampleEncoder seven = ExampleEncoder.forTraining(EncodedTaskTest::withBeginning, 100, 1000, 2).within(7, "data.max_length").truncating();
        assertThatThrownBy(() -> EncodedTask.encode(List.of(task), seven, 0, 1, OverLength.TRUNCATE)).isInstanceOf(InputException.class)
                .hasMessageStartingWith("a:2: 9 tokens are more than data.max_length of 7").hasMessageContaining("truncate cuts prompts alone");
    }

    @Test
    void refusesATaskThatIsLeftWithNothing() {
        ExampleEncoder tiny = encoder.within(2, "compute.token_budget");
        assertThatThrownBy(() -> EncodedTask.encode(List.of(growing("a", 3)), tiny, 0, 1, OverLength.DROP)).isInstanceOf(InputException.class)
                .hasMessageStartingWith("all 3 training examples of task a have more tokens than compute.token_budget of 2");
    }
}
