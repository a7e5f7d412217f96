package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ExampleEncoderTest {

    private static final int BOS = 1;
    private static final int EOS = 2;

    /** One id a character, BOS in front where special tokens are asked for. */
    private static int[] withBos(String text, boolean special) {
        return IntStream.concat(special ? IntStream.of(BOS) : IntStream.empty(), text.chars()).toArray();
    }

    private static int[] plain(String text, boolean special) {
        return text.chars().toArray();
    }

    @Test
    void joinsPromptCompletionAndEnd() {
        var example = new Example("ab", "c", "x:1");

        EncodedExample training = ExampleEncoder.forTraining(ExampleEncoderTest::withBos, 10, 200, EOS).encode(example);
        EncodedExample scoring = ExampleEncoder.forScoring(ExampleEncoderTest::withBos, 10, 200).encode(example);

        assertThat(training.ids()).containsExactly(BOS, 'a', 'b', 'c', EOS);
        assertThat(training.promptLength()).isEqualTo(3);
        assertThat(training.lossTokens()).isEqualTo(2);
        assertThat(scoring.ids()).containsExactly(BOS, 'a', 'b', 'c');
        assertThat(scoring.lossTokens()).isEqualTo(1);
    }

    @Test
    void refusesWhatIsLongerThanTheContext() {
        ExampleEncoder encoder = ExampleEncoder.forTraining(ExampleEncoderTest::withBos, 5, 200, EOS);

        assertThat(encoder.encode(new Example("ab", "c", "x:1")).length()).isEqualTo(5);
        assertThatThrownBy(() -> encoder.encode(new Example("ab", "cd", "train.jsonl:7"))).isInstanceOf(InputException.class)
                .hasMessageStartingWith("train.jsonl:7: 6 tokens are more than the model's context of 5");
    }

    @Test
    void refusesWhatGivesNoToken() {
        ExampleEncoder encoder = ExampleEncoder.forTraining(ExampleEncoderTest::plain, 5, 200, EOS);

        assertThatThrownBy(() -> encoder.encode(new Example("", "c", "x:1"))).isInstanceOf(InputException.class)
                .hasMessageStartingWith("x:1: the prompt gives no token");
        assertThatThrownBy(() -> encoder.encode(new Example("a", "", "x:2"))).isInstanceOf(InputException.class)
                .hasMessageStartingWith("x:2: the completion gives no token");
    }

    @Test
    void refusesIdsTheModelDoesNotHave() {
        ExampleEncoder encoder = ExampleEncoder.forTraining(ExampleEncoderTest::plain, 5, 'b', EOS);

        assertThatThrownBy(() -> encoder.encode(new Example("a", "b", "x:1"))).isInstanceOf(InputException.class)
                .hasMessageContaining("token id 98 is outside the model's vocabulary of 98");
    }
}
