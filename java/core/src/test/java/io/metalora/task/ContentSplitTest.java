package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

class ContentSplitTest {

    private final ContentSplit split = new ContentSplit(0.1, 0.2);

    private static List<Example> examples(int count) {
        return IntStream.range(0, count).mapToObj(i -> new Example("prompt " + i, " x", "train.jsonl:" + (i + 1))).toList();
    }

    private static Task task(List<Example> train) {
        return new Task("t", train, List.of(), List.of());
    }

    private Task split(List<Example> train) {
        return split.of(List.of(task(train))).getFirst();
    }

    @Test
    void everyExampleComesIntoOneSplitInItsOrderAndSharesAreMet() {
        List<Example> all = examples(5000);
        Task cut = split(all);
        assertThat(cut.dev().size() / 5000.0).isCloseTo(0.1, Offset.offset(0.02));
        assertThat(cut.test().size() / 5000.0).isCloseTo(0.2, Offset.offset(0.02));
        var together = new ArrayList<>(cut.train());
        together.addAll(cut.dev());
        together.addAll(cut.test());
        assertThat(together).containsExactlyInAnyOrderElementsOf(all);
        assertThat(all).containsSubsequence(cut.test());
    }

    /** Those whose SHA-256, as a fraction of 2^256, is below 0.2, or else below 0.3: by sha256sum. A run relies on them staying so. */
    @Test
    void placesAreThoseOfTheHash() {
        Task cut = split(examples(12));
        assertThat(cut.dev()).extracting(Example::prompt).containsExactly("prompt 0");
        assertThat(cut.test()).extracting(Example::prompt).containsExactly("prompt 2", "prompt 6", "prompt 7");
    }

    @Test
    void anExampleStaysWhereItIsWhenOthersComeOrMove() {
        Task before = split(examples(200));
        var more = new ArrayList<>(examples(400));
        Collections.shuffle(more, new Random(1));
        Task after = split(more);
        assertThat(after.train()).containsAll(before.train());
        assertThat(after.dev()).containsAll(before.dev());
        assertThat(after.test()).containsAll(before.test());
    }

    @Test
    void thoseWithOnePromptStayTogether() {
        var twice = new ArrayList<>(examples(100));
        examples(100).forEach(example -> twice.add(new Example(example.prompt(), " other", "again")));
        Task cut = split(twice);
        for (List<Example> part : List.of(cut.train(), cut.dev(), cut.test())) {
            part.forEach(example -> assertThat(part).filteredOn(other -> other.prompt().equals(example.prompt())).hasSize(2));
        }
    }

    @Test
    void filesComeFirstAndTheOtherSplitIsTheSame() {
        List<Example> own = List.of(new Example("own", " x", "test.jsonl:1"));
        Task cut = split.of(List.of(new Task("t", examples(200), List.of(), own))).getFirst();
        assertThat(cut.test()).isEqualTo(own);
        assertThat(cut.dev()).isEqualTo(split(examples(200)).dev());
        assertThat(cut.train()).hasSize(200 - cut.dev().size());
        assertThat(new ContentSplit(0.3, 0.2).of(List.of(task(examples(200)))).getFirst().test()).isEqualTo(split(examples(200)).test());
        Task whole = new Task("t", examples(9), own, own);
        assertThat(split.of(List.of(whole))).containsExactly(whole);
    }

    @Test
    void refusesASplitWithNothingInIt() {
        assertThatThrownBy(() -> split(examples(1))).isInstanceOf(InputException.class)
                .hasMessageContaining("data.split leaves task t with no").hasMessageContaining("of the 1 in its training file");
    }
}
