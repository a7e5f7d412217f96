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
}
