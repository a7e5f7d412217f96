package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import java.util.Map;

/** A trainer that gives each task an adapter. */
public sealed interface TaskTrainer extends Trainer permits SeparateLora, AsymmetricLora {

    /**
     * The adapter of each task that did not diverge, in the tasks' order, as views of what is trained; nothing has to be closed.
     */
    Map<String, LoraAdapter> adapters();

    /**
     * Tasks that diverged (NaN or infinity) while the others continued, and how; their adapters are as they were before.
     */
    Map<String, String> failures();

    /** Gives back what only further iterations need; the adapters stay. */
    void finish();
}
