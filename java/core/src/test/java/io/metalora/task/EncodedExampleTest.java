package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import org.junit.jupiter.api.Test;

class EncodedExampleTest {

    private static int[] targets(EncodedExample example) {
        var targets = new int[example.lossTokens()];
        example.copyTargets(targets);
        return targets;
    }

    @Test
    void knowsWhichTokensAreTrained() {
        var example = new EncodedExample(new int[] {7, 8, 9, 10, 11}, new boolean[] {true, false, true, false, true});

        assertThat(targets(example)).containsExactly(2, 4);
        assertThat(example.isTrained(0)).isFalse(); // nothing predicts it
        assertThat(example.isTrained(2)).isTrue();
        assertThat(example.isTrained(3)).isFalse();
        assertThat(example.promptLength()).isEqualTo(2);
        assertThat(example.prompt()).containsExactly(7, 8);
        assertThat(example.isPromptAndCompletion()).isFalse();
    }

    @Test
    void oneStretchAtTheEndIsACompletion() {
        var masked = new EncodedExample(new int[] {7, 8, 9}, new boolean[] {false, true, true});

        assertThat(masked.isPromptAndCompletion()).isTrue();
        assertThat(targets(masked)).containsExactly(targets(new EncodedExample(new int[] {7, 8, 9}, 1))).containsExactly(1, 2);
        assertThat(masked.isTrained(1)).isTrue();
        assertThat(masked.isTrained(0)).isFalse();
    }

    @Test
    void anEmptyMaskIsRefused() {
        assertThatThrownBy(() -> new EncodedExample(new int[] {7, 8}, new boolean[] {true, false})).isInstanceOf(InputException.class)
                .hasMessageContaining("none of the 2 tokens");
    }
}
