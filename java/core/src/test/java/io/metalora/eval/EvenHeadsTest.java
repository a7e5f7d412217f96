package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.model.AdapterSlots;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.train.TinyLlama;
import java.io.IOException;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** A mixture whose heads have the same weight on every token. */
class EvenHeadsTest {

    private static final int HEADS = 3;
    private static final LoraConfig LORA = new LoraConfig(2, 8, false, 0, TargetModules.allLinear());

    private static LoraAdapter adapter(TinyLlama llama, AdapterLayout layout, float[] values) {
        var adapter = LoraAdapter.of(layout, llama.device().zeros(DType.F32, layout.parameters()));
        adapter.parameters().upload(values);
        return adapter;
    }

    private static List<Double> scores(TinyLlama llama, AdapterSlots slots, List<EncodedExample> examples) {
        try (var scorer = new Scorer(llama.model(), slots)) {
            return scorer.score(examples, tokens -> { }).stream().map(Scorer.Score::logprob).toList();
        }
    }

    @Test
    void computesWhatLoraWithTheMeanOfTheHeadsDoes() throws IOException {
        try (var llama = new TinyLlama()) {
            var layout = new MixtureLayout(llama.model().config(), LORA, HEADS);
            var plain = new LoraLayout(llama.model().config(), LORA);
            var random = new Random(5);
            var values = new float[(int) layout.parameters()];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextGaussian() / 4;
            }
            var mean = new float[(int) plain.parameters()];
            for (int s = 0; s < plain.sites().size(); s++) {
                var matrices = layout.sites().get(s).matrices();
                var of = plain.sites().get(s).matrices();
                System.arraycopy(matrices.getFirst().gather(values, 0), 0, mean, (int) of.get(0).offset(),
                        of.get(0).rows() * of.get(0).columns());
                for (int head = 0; head < HEADS; head++) {
                    float[] b = matrices.get(1 + head).gather(values, 0);
                    for (int i = 0; i < b.length; i++) {
                        mean[(int) of.get(1).offset() + i] += b[i] / HEADS;
                    }
                }
            }
            List<EncodedExample> examples = TinyLlama.tasks().getFirst().examples();
            try (var mixture = adapter(llama, layout, values); var lora = adapter(llama, plain, mean);
                    var even = AdapterSlots.of(List.of(mixture,
                            mixture)); var routed = AdapterSlots.of(mixture); var single = AdapterSlots.of(lora)) {
                even.evenHeads();
                List<Double> expected = scores(llama, single, examples);
                List<Double> actual = scores(llama, even, examples);
                assertThat(actual).isNotEqualTo(scores(llama, routed, examples));
                for (int i = 0; i < actual.size(); i++) {
                    assertThat(actual.get(i)).isCloseTo(expected.get(i), within(1e-4));
                }
                assertThatThrownBy(single::evenHeads).isInstanceOf(InputException.class)
                        .hasMessageContaining("LoRA, which has no heads");
            }
        }
    }
}
