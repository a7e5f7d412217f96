package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.config.TrainConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.task.Composition;
import io.metalora.task.EncodedTask;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** One A for all tasks and a B of each, against src/test/python/asymmetric_goldens.py with PyTorch, transformers and PEFT. */
class AsymmetricLoraParityTest {

    /** Of losses and gradients, relative. */
    private static final double TOLERANCE = 1e-5;
    /** Of what all steps change: AdamW divides by gradients near 0 too. */
    private static final double UPDATE_TOLERANCE = 1e-4;

    private static final int[] SIZES = {5, 4, 2};

    private static List<EncodedTask> tasks() throws IOException {
        List<EncodedTask> all = TinyLlama.tasks();
        return IntStream.range(0, SIZES.length).mapToObj(slot -> new EncodedTask(all.get(slot).name(),
                all.get(slot).examples().subList(0, SIZES[slot]), IntStream.range(0, SIZES[slot]).toArray())).toList();
    }

    private static TrainConfig config(String... overrides) {
        return TrainConfig.of("method=asymmetric-lora", "seed=7", "optimizer.lr=0.01", "optimizer.schedule=cosine")
                .with(overrides);
    }

    /** Every step's loss and gradient norm, and what they end with. */
    @ParameterizedTest
    @ValueSource(ints = {0, 20})
    void trainsAsPyTorchDoes(int tokenBudget) throws IOException {
        JsonNode steps = Goldens.json("asymmetric.json").get("steps");
        TrainConfig config = config("joint.epochs=4", "joint.batch_size=4", "optimizer.weight_decay=0.01", "optimizer.clip=1",
                "optimizer.warmup_steps=2", "compute.token_budget=" + tokenBudget);
        try (var llama = new TinyLlama(); LoraAdapter start = llama.adapter();
                var training = new AsymmetricLora(llama.model(), start, tasks(), config, () -> false)) {
            assertThat(training.total()).isEqualTo(steps.size());
            for (JsonNode step : steps) {
                IterationReport report = training.iterate();
                assertThat(report.lr()).isCloseTo(step.get("lr").doubleValue(), within(1e-12));
                close(report.loss(), step.get("loss"));
                close(report.gradientNorm(), step.get("gradient_norm"));
            }
            float[] before = repeated(start.parameters().toFloats());
            float[] ours = training.state().parameters();
            float[] theirs = ofAllSlots((LoraLayout) start.layout(), "");
            double error = TinyLlama.relativeError(TinyLlama.minus(ours, before), TinyLlama.minus(theirs, before));
            System.out.printf("asymmetric: relative error of the update %.1e%n", error);
            assertThat(error).isLessThan(UPDATE_TOLERANCE);
        }
    }

    /** At different B: with a beta1 of 0 the first moment is the gradient. */
    @ParameterizedTest
    @ValueSource(ints = {0, 20})
    void lossAndGradientsOfAAndOfEveryB(int tokenBudget) throws IOException {
        TrainConfig config = config("joint.epochs=1", "joint.batch_size=" + Arrays.stream(SIZES).sum(), "optimizer.beta1=0",
                "optimizer.clip=0", "compute.token_budget=" + tokenBudget);
        try (var llama = new TinyLlama(); LoraAdapter start = llama.adapter();
                var training = new AsymmetricLora(llama.model(), start, tasks(), config, () -> false)) {
            var layout = (LoraLayout) start.layout();
            float[] at = ofAllSlots(layout, "");
            training.restore(new TrainerState(0, at, new float[at.length], new float[at.length], Composition.STATELESS));
            close(training.iterate().loss(), Goldens.json("asymmetric.json").get("loss"));
            float[] ours = training.state().m();
            float[] theirs = ofAllSlots(layout, "grad.");
            double worst = 0;
            for (Matrix matrix : matrices(layout)) {
                double error = TinyLlama.relativeError(matrix.of(ours), matrix.of(theirs));
                assertThat(error).as(matrix.name).isLessThan(TOLERANCE);
                worst = Math.max(worst, error);
            }
            System.out.printf("asymmetric: relative error of the gradients at most %.1e%n", worst);
        }
    }

    private static void close(double ours, JsonNode theirs) {
        assertThat(ours).isCloseTo(theirs.doubleValue(), Percentage.withPercentage(100 * TOLERANCE));
    }

    /** A matrix that is trained, in the vector of all slots: each A once, of slot 0. */
    private record Matrix(String name, int from, int count) {

        float[] of(float[] all) {
            return Arrays.copyOfRange(all, from, from + count);
        }
    }

    private static List<Matrix> matrices(LoraLayout layout) {
        var all = new ArrayList<Matrix>();
        for (LoraLayout.Site site : layout.sites()) {
            all.add(new Matrix(site.path() + ".lora_A", (int) site.offsetA(), site.rank() * site.in()));
            for (int slot = 0; slot < SIZES.length; slot++) {
                all.add(new Matrix(site.path() + ".lora_B of slot " + slot, (int) (slot * layout.parameters() + site.offsetB()),
                        site.out() * site.rank()));
            }
        }
        return all;
    }

    /** The golden's tensors as a vector of all slots, the A in each. */
    private static float[] ofAllSlots(LoraLayout layout, String prefix) throws IOException {
        int count = (int) layout.parameters();
        var all = new float[SIZES.length * count];
        try (var file = Safetensors.open(Goldens.path("asymmetric.safetensors"))) {
            for (LoraLayout.Site site : layout.sites()) {
                float[] a = file.tensor(prefix + site.path() + ".lora_A.weight").toFloats();
                float[] b = file.tensor(prefix + site.path() + ".lora_B.weight").toFloats();
                int ofOne = b.length / SIZES.length;
                for (int slot = 0; slot < SIZES.length; slot++) {
                    System.arraycopy(a, 0, all, slot * count + (int) site.offsetA(), a.length);
                    System.arraycopy(b, slot * ofOne, all, slot * count + (int) site.offsetB(), ofOne);
                }
            }
        }
        return all;
    }

    private static float[] repeated(float[] one) {
        var all = new float[SIZES.length * one.length];
        for (int slot = 0; slot < SIZES.length; slot++) {
            System.arraycopy(one, 0, all, slot * one.length, one.length);
        }
        return all;
    }
}
