package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.Device;
import io.metalora.runtime.op.DeviceAccess;
import java.util.List;

/**
 * The layout of a model on a device, from which the buffers of its passes are planned; known before the weights are loaded.
 *
 * @param groups        the Linears of every layer, as they are held
 * @param columnsByEach columns that adapters of one Linear may take behind the rows of its input
 */
record ModelShape(ModelConfig config, List<LinearGroup> groups, int columnsByEach) {

    static ModelShape of(ModelConfig config, Device device, LoadOptions options) {
        return new ModelShape(config, LinearGroup.of(device), DeviceAccess.get().gainsByAdapterRoom(device) ? options.adapterColumns() : 0);
    }

    /** The group that a projection belongs to. */
    LinearGroup group(Projection p) {
        return groups.stream().filter(g -> g.members().contains(p)).findFirst().orElseThrow();
    }

    /** Members of the largest group. */
    int largestGroup() {
        return groups.stream().mapToInt(g -> g.members().size()).max().orElseThrow();
    }

    /** Columns that the input of a group should have behind its rows, for the ops to put adapters into. */
    int spareColumns(int members) {
        return columnsByEach * members;
    }
}
