package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.task.Example;
import io.metalora.task.Task;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ClosedLabelsTest {

    private static List<Example> examples(int count, int labels) {
        return IntStream.range(0, count).mapToObj(i -> new Example("p" + i, " l" + i % labels, "file:" + i)).toList();
    }

    private static Task task(List<Example> train, List<Example> test) {
        return new Task("t", train, List.of(), test);
    }

    @Test
    void fewCompletionsThatCoverTheSplitAreLabels() {
        Task task = task(examples(20, 3), examples(6, 2));
        assertThat(ClosedLabels.of(task, task.test())).hasValue(List.of(" l0", " l1", " l2"));
    }

    @Test
    void manyCompletionsAreNone() {
        assertThat(ClosedLabels.of(task(examples(200, 32), examples(10, 10)), examples(10, 10))).isPresent();
        assertThat(ClosedLabels.of(task(examples(200, 33), examples(10, 10)), examples(10, 10))).isEmpty();
    }

    @Test
    void completionsThatHardlyRepeatAreNone() {
        assertThat(ClosedLabels.of(task(examples(10, 6), examples(5, 5)), examples(5, 5))).isEmpty();
    }

    @Test
    void aSplitWithAnotherCompletionHasNone() {
        assertThat(ClosedLabels.of(task(examples(20, 3), examples(6, 4)), examples(6, 4))).isEmpty();
    }

    @Test
    void oneCompletionIsNoChoice() {
        assertThat(ClosedLabels.of(task(examples(20, 1), examples(6, 1)), examples(6, 1))).isEmpty();
    }

    @Test
    void withoutTrainingExamplesTheSplitItselfTells() {
        Task task = task(List.of(), examples(12, 3));
        assertThat(ClosedLabels.of(task, task.test())).hasValue(List.of(" l0", " l1", " l2"));
    }
}
