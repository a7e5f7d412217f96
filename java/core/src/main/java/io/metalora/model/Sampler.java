package io.metalora.model;

import java.util.Arrays;
import java.util.SplittableRandom;

/** Draws tokens from logits: greedy, or temperature and top-p (Holtzman et al. 2020). Sequences may take turns. */
final class Sampler {
    private final double[] probability;
    private final long[] order;

    Sampler(int vocabSize) {
        probability = new double[vocabSize];
        order = new long[vocabSize];
    }

    /** @param random the sequence's own */
    int next(float[] logits, GenerationOptions options, SplittableRandom random) {
        int best = 0;
        for (int i = 1; i < logits.length; i++) {
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        float temperature = options.temperature();
        if (temperature == 0) {
            return best;
        }
        double sum = 0;
        for (int i = 0; i < logits.length; i++) {
            probability[i] = Math.exp((logits[i] - (double) logits[best]) / temperature);
            sum += probability[i];
        }
        return options.topP() < 1 ? nucleus(sum, options.topP(), random) : draw(random.nextDouble() * sum);
    }

    private int draw(double at) {
        int last = 0;
        for (int i = 0; i < probability.length; i++) {
            if (probability[i] > 0) {
                last = i;
                at -= probability[i];
                if (at < 0) {
                    break;
                }
            }
        }
        return last;
    }

    private int nucleus(double sum, float topP, SplittableRandom random) {
        for (int i = 0; i < order.length; i++) {
            // Bits of a float that is not negative order as the float does: descending probability, then ascending id.
            order[i] = (long) ~Float.floatToRawIntBits((float) probability[i]) << 32 | i;
        }
        Arrays.sort(order);
        double kept = 0;
        int count = 0;
        while (count < order.length && kept < topP * sum) {
            kept += probability[(int) order[count++]];
        }
        double at = random.nextDouble() * kept;
        for (int i = 0; i < count - 1; i++) {
            at -= probability[(int) order[i]];
            if (at < 0) {
                return (int) order[i];
            }
        }
        return (int) order[count - 1];
    }
}
