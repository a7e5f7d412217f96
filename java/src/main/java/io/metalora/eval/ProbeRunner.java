package io.metalora.eval;

import io.metalora.eval.Probe.Answer;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.ModelPass;
import io.metalora.model.PassLimits;
import io.metalora.model.TokenPack;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * Runs probes through a model: sorted by length, packed without padding up to a token budget, all with the same adapter.
 * Its buffers grow to the largest probe seen and stay.
 */
final class ProbeRunner implements AutoCloseable {

    /** Tokens of one pass: enough to keep the matrix products efficient, few enough to keep the buffers small. */
    private static final int TOKEN_BUDGET = 1024;

    private final CausalLM model;
    private final AdapterSlots slots;
    private PassLimits limits;
    private ModelPass pass;
    private TokenPack pack;

    /** @param slots the adapter, in slot 0; null for the base model */
    ProbeRunner(CausalLM model, AdapterSlots slots) {
        this.model = model;
        this.slots = slots;
    }

    /**
     * The answers, in the order of the probes.
     *
     * @param progress hears how many tokens were read with every pass
     * @throws InputException if weights of the model or of the adapter are not finite
     */
    List<Answer> run(List<Probe> probes, LongConsumer progress) {
        if (probes.isEmpty()) {
            return List.of();
        }
        fit(probes);
        int[] order = IntStream.range(0, probes.size()).boxed()
                .sorted(Comparator.comparingInt(i -> probes.get(i).tokens())).mapToInt(Integer::intValue).toArray();
        var answers = new Answer[probes.size()];
        for (int from = 0; from < order.length; ) {
            pack.clear(1);
            int to = from;
            while (to < order.length && fits(probes.get(order[to]))) {
                probes.get(order[to++]).addTo(pack);
            }
            pass.forward(pack, slots);
            int row = 0;
            for (int i = from; i < to; i++) {
                int rows = probes.get(order[i]).rows();
                answers[order[i]] = new Answer(Arrays.copyOfRange(pass.logprob(), row, row + rows),
                        Arrays.copyOfRange(pass.argmax(), row, row + rows));
                row += rows;
                if (!Double.isFinite(answers[order[i]].sum())) {
                    throw model.notFinite(slots);
                }
            }
            progress.accept(pack.tokens());
            from = to;
        }
        return Arrays.asList(answers);
    }

    private void fit(List<Probe> probes) {
        int tokens = limits == null ? TOKEN_BUDGET : limits.tokens();
        int rows = limits == null ? TOKEN_BUDGET : limits.lossRows();
        for (Probe probe : probes) {
            tokens = Math.max(tokens, probe.tokens());
            rows = Math.max(rows, probe.rows());
        }
        if (limits == null || tokens > limits.tokens() || rows > limits.lossRows()) {
            close();
            var larger = new PassLimits(tokens, TOKEN_BUDGET, rows, 1);
            pack = new TokenPack(larger);
            pass = new ModelPass(model, larger, slots == null ? null : slots.layout(), false);
            limits = larger;
        }
    }

    private boolean fits(Probe probe) {
        return pack.tokens() + probe.tokens() <= limits.tokens() && pack.lossRows() + probe.rows() <= limits.lossRows()
                && pack.sequences() < limits.sequences();
    }

    @Override
    public void close() {
        if (pass != null) {
            pass.close();
            pass = null;
            limits = null;
        }
    }
}
