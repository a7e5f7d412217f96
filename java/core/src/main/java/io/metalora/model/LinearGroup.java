package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.Device;
import io.metalora.runtime.op.DeviceAccess;
import java.util.ArrayList;
import java.util.List;

/**
 * Linears of a layer that are computed as one product, because they read the same input and the device is faster that way; or a
 * single Linear. The outputs of its members lie side by side.
 *
 * @param members in the order of the weight's rows
 */
record LinearGroup(List<Projection> members) {
    /** The groups of a layer on a device, which together have every projection once. */
    static List<LinearGroup> of(Device device) {
        var groups = new ArrayList<LinearGroup>();
        add(groups, DeviceAccess.get().gainsByStacking(device), Projection.Q, Projection.K, Projection.V);
        add(groups, false, Projection.O);
        add(groups, DeviceAccess.get().gainsByStacking(device), Projection.GATE, Projection.UP);
        add(groups, false, Projection.DOWN);
        return List.copyOf(groups);
    }

    private static void add(List<LinearGroup> groups, boolean together, Projection... members) {
        if (together) {
            groups.add(new LinearGroup(List.of(members)));
            return;
        }
        for (var p : members) {
            groups.add(new LinearGroup(List.of(p)));
        }
    }

    Projection first() {
        return members.getFirst();
    }

    boolean isStack() {
        return members.size() > 1;
    }

    /** Output features of all members. */
    int out(ModelConfig config) {
        return members.stream().mapToInt(p -> p.out(config)).sum();
    }

    /** Where a member's outputs begin. */
    int column(ModelConfig config, Projection member) {
        return members.stream().takeWhile(p -> p != member).mapToInt(p -> p.out(config)).sum();
    }
}
