package io.metalora.train;

import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Inner rates that are learned with the shared adapter (Meta-SGD, Li et al. 2017), one a Linear, to first order. A rate alpha
 * is its first value times exp(s); what is learned, by Adam, is s. With theta_i = theta - alpha sum_j g_j after a task's inner
 * steps, the derivative of its query loss by s is alpha times that by alpha, which is -&lt;sum_j g_j, q&gt;: the dot product of
 * the query gradient q and the way theta_i - theta that stage 1 went, whatever optimizer took the steps. The tasks' derivatives
 * are weighted as their gradients are.
 */
final class LearnedRates {

    private static final double BETA1 = 0.9;
    private static final double BETA2 = 0.999;
    private static final double EPS = 1e-8;
    /** Of the matrix of the two vectors' dot products. */
    private static final int PRODUCTS = 4;

    private final Ops ops;
    private final InnerRates rates;
    private final AdapterSlots slots;
    private final double lr;
    private final float[] first;
    private final float[] s;
    private final float[] m;
    private final float[] v;
    private final SlotVectors one;
    private final Tensor pair; // [2, P]: of a slot the query gradient, and the way back from its parameters to the shared ones
    private final Tensor products; // F64 [slots, Linears, 2, 2]
    private final List<Part> parts = new ArrayList<>(); // of each Linear
    private final List<Tensor> productsOf = new ArrayList<>(); // [slots * Linears]
    private final List<Tensor> parametersOf = new ArrayList<>(); // [slots]
    private final double[] productsOnHost;

    /** A Linear's part of the pair. */
    private record Part(SlotVectors vectors, Tensor pair) {}

    /** @param slots parameters and gradients; stay the caller's */
    LearnedRates(BufferPlan plan, AdapterSlots slots, InnerRates rates, double lr) {
        int linears = rates.ranges().size();
        long count = slots.layout().parameters();
        this.ops = Ops.of(plan.device());
        this.rates = rates;
        this.slots = slots;
        this.lr = lr;
        this.first = new float[linears];
        for (int i = 0; i < linears; i++) {
            first[i] = rates.rate(i);
        }
        this.s = new float[linears];
        this.m = new float[linears];
        this.v = new float[linears];
        this.one = SlotVectors.dense(count, 1);
        this.pair = plan.floats(2, count);
        this.products = plan.doubles(slots.slots(), linears, PRODUCTS);
        this.productsOnHost = new double[slots.slots() * linears * PRODUCTS];
    }

    /** Views, so made once the buffers are there. */
    private void makeViews() {
        long count = one.count();
        int linears = s.length;
        for (InnerRates.Range linear : rates.ranges()) {
            parts.add(new Part(new SlotVectors(linear.count(), count, 2), pair.view(linear.offset(), count + linear.count())));
        }
        for (int slot = 0; slot < slots.slots(); slot++) {
            parametersOf.add(slots.parameters().view(slot * count, count));
            for (int i = 0; i < linears; i++) {
                productsOf.add(products.view(((long) slot * linears + i) * PRODUCTS, PRODUCTS));
            }
        }
    }

    /** Queues the dot products of the query gradients, which lie in the slots at the adapted parameters. */
    void queue(Tensor shared) {
        if (parts.isEmpty()) {
            makeViews();
        }
        long count = one.count();
        Tensor back = pair.view(count, count);
        for (int slot = 0; slot < slots.slots(); slot++) {
            pair.copyFrom(slots.gradients(), slot * count, 0, count);
            pair.copyFrom(shared, 0, count, count);
            ops.sgd(one, back, parametersOf.get(slot), 1, 0);
            for (int i = 0; i < parts.size(); i++) {
                ops.taskReduce(parts.get(i).vectors, parts.get(i).pair, null, null, productsOf.get(slot * parts.size() + i));
            }
        }
    }

    /** Waits for what was queued. */
    void await() {
        products.download(productsOnHost);
    }

    /** The derivative of the weighted query losses with respect to s of a Linear, from what was awaited last. */
    double derivative(int linear, float[] weights) {
        double sum = 0;
        for (int slot = 0; slot < slots.slots(); slot++) {
            sum -= weights[slot] * productsOnHost[(slot * s.length + linear) * PRODUCTS + 1];
        }
        return sum;
    }

    /**
     * A step of every rate.
     *
     * @param weights of the slots
     * @param step    from 1
     */
    void learn(float[] weights, long step) {
        for (int i = 0; i < s.length; i++) {
            double derivative = derivative(i, weights);
            m[i] = (float) (BETA1 * m[i] + (1 - BETA1) * derivative);
            v[i] = (float) (BETA2 * v[i] + (1 - BETA2) * derivative * derivative);
            double unbiasedM = m[i] / (1 - StrictMath.pow(BETA1, step));
            double unbiasedV = v[i] / (1 - StrictMath.pow(BETA2, step));
            s[i] = (float) (s[i] - lr * unbiasedM / (StrictMath.sqrt(unbiasedV) + EPS));
        }
        setRates();
    }

    private void setRates() {
        for (int i = 0; i < s.length; i++) {
            float rate = (float) Math.min(Float.MAX_VALUE, first[i] * StrictMath.exp(s[i]));
            rates.set(i, rate < Float.MIN_NORMAL ? 0 : rate); // which is as far as a setting goes
        }
    }

    /** The rates by the Linears' paths, as they are now. */
    Map<String, Float> byPath() {
        var all = new LinkedHashMap<String, Float>();
        for (int i = 0; i < s.length; i++) {
            all.put(rates.ranges().get(i).path(), rates.rate(i));
        }
        return all;
    }

    /** [3, Linears]: s and the moments of Adam. */
    float[] state() {
        float[] state = Arrays.copyOf(s, 3 * s.length);
        System.arraycopy(m, 0, state, s.length, s.length);
        System.arraycopy(v, 0, state, 2 * s.length, s.length);
        return state;
    }

    /** @throws InputException if it is of other Linears */
    void restore(float[] state) {
        if (state.length != 3 * s.length) {
            throw new InputException("the state has " + state.length / 3 + " learned inner rates, not " + s.length);
        }
        System.arraycopy(state, 0, s, 0, s.length);
        System.arraycopy(state, s.length, m, 0, s.length);
        System.arraycopy(state, 2 * s.length, v, 0, s.length);
        setRates();
    }
}
