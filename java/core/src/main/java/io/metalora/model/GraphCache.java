package io.metalora.model;

import io.metalora.bindings.NativeException;
import io.metalora.runtime.Device;
import io.metalora.runtime.Graph;
import io.metalora.runtime.host.Held;
import java.util.LinkedHashMap;
import java.util.function.Function;

/**
 * Runs ops that recur: directly the first time, which provides what recording needs (scratch memory, measurements), then recorded
 * as a graph, then by that graph. The least recently used graphs are closed.
 *
 * @param <K> identifies a sequence of ops: calls with equal keys must call the same ops with the same arguments
 */
final class GraphCache<K> implements AutoCloseable {
    private static final int MOST = 16;

    /**
     * How often recording a key may be refused before it is only run directly: each attempt costs the host all its ops once more.
     */
    private static final int TRIES = 3;

    /** The state of a key whose ops have run once. */
    private static final class Entry {
        Graph graph; // null: not recorded
        int refused;

        void closeGraph() {
            if (graph != null) {
                graph.close();
                graph = null;
            }
        }
    }

    private final Function<Runnable, Graph> recorder;
    private final LinkedHashMap<K, Entry> entries = new LinkedHashMap<>(MOST, 0.75f, true);
    private long replayed;

    /** @param recorder {@link Device#record} */
    GraphCache(Function<Runnable, Graph> recorder) {
        this.recorder = recorder;
    }

    void run(K key, Runnable ops) {
        var entry = entries.get(key);
        if (entry != null && entry.graph == null && entry.refused < TRIES) {
            record(entry, ops);
        }
        if (entry != null && entry.graph != null) {
            if (entry.graph.launch()) {
                replayed++;
                return;
            }
            close(); // what made this one stale did so to those that were recorded before it
        }
        ops.run();
        if (entries.putIfAbsent(key, new Entry()) == null) {
            closeOldest();
        }
    }

    /** Leaves no graph if the ops cannot be recorded now: run directly, they succeed or say what is wrong. */
    private void record(Entry entry, Runnable ops) {
        try {
            entry.graph = recorder.apply(ops);
        } catch (NativeException e) {
            switch (e.status()) {
                case INVALID_ARGUMENT -> entry.refused++;
                case OUT_OF_MEMORY -> { // graphs take memory too, and stale ones are of no use
                    entry.refused++;
                    entries.values().forEach(Entry::closeGraph);
                }
                default -> throw e;
            }
        }
    }

    private void closeOldest() {
        if (entries.size() > MOST) {
            entries.pollFirstEntry().getValue().closeGraph();
        }
    }

    /** Graphs held. */
    int recorded() {
        return (int) entries.values().stream().filter(entry -> entry.graph != null).count();
    }

    /** Runs that replayed a graph. */
    long replayed() {
        return replayed;
    }

    @Override
    public void close() {
        Held.closeAll(entries.values(), Entry::closeGraph);
        entries.clear();
    }
}
