package io.metalora.model;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.runtime.Device;
import io.metalora.runtime.Graph;
import java.util.LinkedHashMap;

/**
 * Runs ops that come again and again: the first time as they are, then recorded as a graph, then by that graph. The first
 * run brings what recording needs (scratch memory, measurements). The graphs not used for longest are closed.
 *
 * @param <K> tells what differs between ops: two calls of an equal key must make the same ops with the same arguments
 */
final class GraphCache<K> implements AutoCloseable {
    private static final int MOST = 16;

    private final Device device;
    private final LinkedHashMap<K, Graph> graphs = new LinkedHashMap<>(MOST, 0.75f, true); // null: run once

    GraphCache(Device device) {
        this.device = device;
    }

    void run(K key, Runnable ops) {
        if (!graphs.containsKey(key)) {
            ops.run();
            graphs.put(key, null);
            closeOldest();
            return;
        }
        var graph = graphs.get(key);
        if (graph == null) {
            graph = record(ops);
            graphs.put(key, graph);
        }
        if (graph != null && graph.launch()) {
            return;
        }
        if (graph != null) {
            graph.close();
            graphs.put(key, null);
        }
        ops.run();
    }

    /** Null where they cannot be recorded now; run as they are, they succeed or tell what is wrong. */
    private Graph record(Runnable ops) {
        try {
            return device.record(ops);
        } catch (NativeException e) {
            if (e.status() == Status.INVALID_ARGUMENT) {
                return null;
            }
            throw e;
        }
    }

    private void closeOldest() {
        if (graphs.size() > MOST) {
            var oldest = graphs.pollFirstEntry().getValue();
            if (oldest != null) {
                oldest.close();
            }
        }
    }

    /** Graphs held. */
    int recorded() {
        return (int) graphs.values().stream().filter(graph -> graph != null).count();
    }

    @Override
    public void close() {
        graphs.values().stream().filter(graph -> graph != null).forEach(Graph::close);
        graphs.clear();
    }
}
