package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.task.Example;
import io.metalora.task.Task;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class TaskItemsTest {

    static Task task(String name, int test, String... labels) {
        var examples = IntStream.range(0, test).mapToObj(i -> new Example(name + " " + i, labels[i % labels.length], name + ":" + i)).toList();
        return new Task(name, examples, List.of(), examples);
    }

    @Test
    void aSmallTaskIsTakenWhole() {
        for (int most : new int[] {0, 5, 6, Integer.MAX_VALUE}) {
            TaskItems items = TaskItems.of(task("t", 5, "a", "b"), Split.TEST, most);
            assertThat(items.lines()).containsExactly(0, 1, 2, 3, 4);
            assertThat(items.available()).isEqualTo(5);
        }
    }

    @Test
    void aLargeOneIsSampledTheSameEveryTime() {
        TaskItems items = TaskItems.of(task("t", 1000, "a", "b"), Split.TEST, 50);
        assertThat(items.size()).isEqualTo(50);
        assertThat(items.available()).isEqualTo(1000);
        assertThat(items.lines()).isSorted().doesNotHaveDuplicates().isEqualTo(TaskItems.of(task("t", 1000, "a", "b"), Split.TEST, 50).lines());
        assertThat(items.lines()[49]).as("from all of it").isGreaterThan(500);
        assertThat(items.lines()).isNotEqualTo(TaskItems.of(task("u", 1000, "a", "b"), Split.TEST, 50).lines());
        assertThat(IntStream.of(items.lines()).boxed().toList()).as("a larger sample holds the smaller")
                .isSubsetOf(IntStream.of(TaskItems.of(task("t", 1000, "a", "b"), Split.TEST, 60).lines()).boxed().toList());
        for (int i = 0; i < 50; i++) {
            assertThat(items.examples().get(i).source()).isEqualTo("t:" + items.lines()[i]);
        }
    }

    @Test
    void theSampleDoesNotDecideHowTheTaskIsAnswered() {
        String[] labels = IntStream.range(0, 8).mapToObj(i -> "label " + i).toArray(String[]::new);
        TaskItems items = TaskItems.of(task("t", 400, labels), Split.TEST, 3);
        assertThat(items.labels()).containsExactly(labels);
        assertThat(items.method()).isEqualTo(TaskResult.Method.RANKING);
    }

    @Test
    void tasksAreSampledInTheirOrder() {
        var tasks = IntStream.range(0, 100).mapToObj(i -> task("t%02d".formatted(i), 2, "a", "b")).toList();
        var some = TaskItems.sample(tasks, 10);
        assertThat(some).hasSize(10).isSubsetOf(tasks).isEqualTo(TaskItems.sample(tasks, 10));
        assertThat(some.stream().map(Task::name).toList()).isSorted();
        assertThat(TaskItems.sample(tasks, 0)).isEqualTo(tasks);
        assertThat(TaskItems.sample(tasks, 100)).isEqualTo(tasks);
    }
}
