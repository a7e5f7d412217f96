package io.metalora.eval;

import io.metalora.eval.Probe.Answer;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.Pass;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * Runs probes through a model: sorted by length and packed without padding up to a token budget. Each asks the adapter of its
 * slot, and one pass serves all slots. The buffers grow to the largest probe seen and stay.
 */
final class ProbeRunner implements AutoCloseable {

    /** Tokens of one pass: enough to keep the matrix products efficient, few enough to keep the buffers small. */
    private static final int TOKEN_BUDGET = 1024;

    private final CausalLM model;
    private final AdapterSlots slots;
    private final BooleanSupplier stop;
    private PassLimits limits;
    private Pass pass;
    private TokenPack pack;

    /**
     * @param slots the adapters; null for the base model
     * @param stop  asked before every pass; true ends the run with a {@link CancellationException}
     */
    ProbeRunner(CausalLM model, AdapterSlots slots, BooleanSupplier stop) {
        this.model = model;
        this.slots = slots;
        this.stop = stop;
    }

    /**
     * The answers, in the order of the probes.
     *
     * @param progress is told after every pass how many tokens it read
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
            if (stop.getAsBoolean()) {
                throw new CancellationException("stopped on request");
            }
            int to = endOfPack(probes, order, from);
            // A pack has its slots one after the other.
            List<Integer> packed = IntStream.range(from, to).mapToObj(i -> order[i])
                    .sorted(Comparator.comparingInt(i -> probes.get(i).slot())).toList();
            pack.clear(limits.slots());
            packed.forEach(i -> probes.get(i).addTo(pack));
            pass.forward(pack, slots);
            int row = 0;
            for (int i : packed) {
                int rows = probes.get(i).rows();
                answers[i] = new Answer(Arrays.copyOfRange(pass.logprob(), row, row + rows),
                        Arrays.copyOfRange(pass.argmax(), row, row + rows));
                row += rows;
                if (!Double.isFinite(answers[i].sum())) {
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
            var larger = new PassLimits(tokens, TOKEN_BUDGET, rows, slots == null ? 1 : slots.slots());
            pack = new TokenPack(larger);
            pass = PassAccess.get().evaluation(model, larger, slots == null ? null : slots.layout());
            limits = larger;
        }
    }

    /** How far the probes from {@code from} on go into one pack; at least one does. */
    private int endOfPack(List<Probe> probes, int[] order, int from) {
        int tokens = 0;
        int rows = 0;
        int to = from;
        while (to < order.length && to - from < limits.sequences()) {
            tokens += probes.get(order[to]).tokens();
            rows += probes.get(order[to]).rows();
            if (tokens > limits.tokens() || rows > limits.lossRows()) {
                break;
            }
            to++;
        }
        return to;
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
