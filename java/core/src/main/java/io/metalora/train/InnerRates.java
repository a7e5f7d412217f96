package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.config.ModuleRate;
import io.metalora.config.TrainConfig;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.List;

/**
 * The rates of stage 1, of each range of an adapter's vector. Where they stay as they are, Linears that lie side by side and have
 * one rate are one range, so that one rate for all is one step over all; where they are learned, each Linear is a range.
 */
final class InnerRates {

    /**
     * A part of the vector.
     *
     * @param path   of its first Linear
     * @param offset floats from the start of the vector
     * @param count  how many
     */
    record Range(String path, long offset, long count) {}

    private final List<Range> ranges;
    private final float[] rates;

    private InnerRates(List<Range> ranges, float[] rates) {
        this.ranges = ranges;
        this.rates = rates;
    }

    /** @throws InputException if a module that is given a rate is none of the layout's */
    static InnerRates of(AdapterLayout layout, TrainConfig.Meta meta) {
        List<ModuleRate> modules = meta.moduleRates();
        var ranges = new ArrayList<Range>();
        var rates = new ArrayList<Float>();
        for (AdapterLayout.Site linear : layout.sites()) {
            float rate = modules.stream().filter(module -> module.matches(linear.path())).findFirst().map(ModuleRate::rate)
                    .orElse((float) meta.innerLr());
            if (meta.innerRateLr() == 0 && !ranges.isEmpty() && rates.getLast() == rate) {
                Range before = ranges.removeLast();
                ranges.add(new Range(before.path(), before.offset(), before.count() + linear.parameters()));
            } else {
                ranges.add(new Range(linear.path(), linear.offset(), linear.parameters()));
                rates.add(rate);
            }
        }
        for (ModuleRate module : modules) {
            if (layout.sites().stream().noneMatch(linear -> module.matches(linear.path()))) {
                throw new InputException("meta.inner_rates names " + Shown.quoted(module.module())
                        + ", but no Linear of that name is adapted; those are such as " + layout.sites().getFirst().path());
            }
        }
        float[] values = new float[rates.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = rates.get(i);
        }
        return new InnerRates(List.copyOf(ranges), values);
    }

    /** In the order of the vector, without gaps. */
    List<Range> ranges() {
        return ranges;
    }

    float rate(int range) {
        return rates[range];
    }

    void set(int range, float rate) {
        rates[range] = rate;
    }
}
