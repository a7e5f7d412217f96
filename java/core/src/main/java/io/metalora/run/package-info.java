/**
 * A training run from its configuration to its adapter, in a folder of its own: logs, checkpoints, and resuming to the same bits after
 * a kill. {@link io.metalora.run.TrainingRun} is the entry point.
 */
package io.metalora.run;
