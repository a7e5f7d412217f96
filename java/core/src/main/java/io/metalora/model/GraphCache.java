package io.metalora.model;

import io.metalora.bindings.NativeException;
import io.metalora.runtime.Device;
import io.metalora.runtime.Graph;
import io.metalora.runtime.host.Held;
import java.util.LinkedHashMap;
import java.util.function.Function;

/**
 * Runs ops that come again and again: the first time as they are, then recorded as a graph, then by that graph. The first
 * run brings what recording needs (scratch memory, measurements). The graphs not used for longest are closed.
 *
 * @param <K> tells what differs between ops: two calls of an equal key must make the same ops with the same arguments
 */
final class GraphCache<K> implements AutoCloseable {
    private static final int MOST = 16;

    /** Recordings of a key that may be refused before it is run as it is for good: each costs the host the ops once more. */
    private static final int TRIES = 3;

    /** Of a key whose ops ran once. */
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

    /** Leaves no graph where the ops cannot be recorded now; run as they are, they succeed or tell what is wrong. */
    private void record(Entry entry, Runnable ops) {
        try {
            entry.graph = recorder.apply(ops);
        } catch (NativeException e) {
            switch (e.status()) {
                case INVALID_ARGUMENT -> entry.refused++;
                case OUT_OF_MEMORY -> { // which graphs take too, and those that are stale in vain
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

    /** Runs that were a graph's. */
    long replayed() {
        return replayed;
    }

    @Override
    public void close() {
        Held.closeAll(entries.values(), Entry::closeGraph);
        entries.clear();
    }
}
