package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.runtime.InputException;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class SamplerTest {
    private static final float[] LOGITS = {0f, 2f, 1f, 2f, -50f};

    private static int[] draws(float temperature, float topP, int n) {
        var sampler = new Sampler(LOGITS.length);
        var options = new GenerationOptions(1, temperature, topP, 42, List.of());
        var random = new SplittableRandom(options.seed());
        var counts = new int[LOGITS.length];
        for (int i = 0; i < n; i++) {
            counts[sampler.next(LOGITS, options, random)]++;
        }
        return counts;
    }

    @Test
    void greedyTakesTheLowestIdOnTies() {
        assertThat(draws(0, 1, 5)).containsExactly(0, 5, 0, 0, 0);
    }

    @Test
    void drawsWithTheProbabilitiesOfTheTemperature() {
        int n = 40_000;
        for (float temperature : new float[] {0.5f, 1f, 2f}) {
            var counts = draws(temperature, 1, n);
            double sum = 0;
            for (float l : LOGITS) {
                sum += Math.exp(l / temperature);
            }
            for (int i = 0; i < LOGITS.length; i++) {
                assertThat(counts[i] / (double) n)
                        .as("token " + i + " at " + temperature)
                        .isCloseTo(Math.exp(LOGITS[i] / temperature) / sum, within(0.012));
            }
        }
    }

    @Test
    void topPKeepsTheSmallestSetThatReachesIt() {
        // Probabilities 0.054, 0.399, 0.147, 0.399, ~0.
        assertThat(draws(1, 0.39f, 1_000)).containsExactly(0, 1_000, 0, 0, 0);
        var two = draws(1, 0.7f, 10_000);
        assertThat(two[0] + two[2] + two[4]).isZero();
        assertThat(two[1] / 1e4).isCloseTo(0.5, within(0.02));
        var three = draws(1, 0.9f, 10_000);
        assertThat(three[0] + three[4]).isZero();
        assertThat(three[2] / 1e4).isCloseTo(0.147 / 0.946, within(0.02));
    }

    @Test
    void refusesSettingsWithoutMeaning() {
        assertThatThrownBy(() -> new GenerationOptions(0, 0, 1, 0, List.of()))
                .isInstanceOf(InputException.class).hasMessageContaining("new tokens");
        assertThatThrownBy(() -> new GenerationOptions(1, -1, 1, 0, List.of()))
                .isInstanceOf(InputException.class).hasMessageContaining("temperature");
        assertThatThrownBy(() -> new GenerationOptions(1, 1, 0, 0, List.of()))
                .isInstanceOf(InputException.class).hasMessageContaining("top-p");
    }
}
