package io.metalora.train;

import io.metalora.random.CounterRandom;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.LongConsumer;

/** One step of one AdamW on a batch of all tasks' samples, as {@link JointLora} and {@link AsymmetricLora} take it. */
final class BatchStep {

    private final long seed;
    private final GradientPass pass;
    private final SharedOptimizer optimizer;
    private final double[] losses;

    /**
     * @param seed   the training's
     * @param losses where the pass leaves what each task adds to the batch's loss, nats
     */
    BatchStep(long seed, GradientPass pass, SharedOptimizer optimizer, double[] losses) {
        this.seed = seed;
        this.pass = pass;
        this.optimizer = optimizer;
        this.losses = losses;
    }

    /**
     * Takes the step; within {@link GradientPass#whole}.
     *
     * @param draws for the report
     * @param queue queues all that the step does on the device, given the seed of dropout
     * @throws TrainingDivergedException if the loss is not finite
     */
    IterationReport take(List<IterationReport.Draw> draws, LongConsumer queue) {
        long begin = System.nanoTime();
        long dropoutSeed = new CounterRandom(seed, CounterRandom.Purpose.DROPOUT, optimizer.step()).nextLong();
        double lr = optimizer.learningRate();
        queue.accept(dropoutSeed);
        pass.await();
        if (optimizer.step() == 0) {
            pass.requireFiniteBeginning(losses);
        }
        double loss = Arrays.stream(losses).sum();
        if (!Double.isFinite(loss)) {
            throw new TrainingDivergedException("step " + (optimizer.step() + 1) + ": the loss is " + loss + "; lower optimizer.lr");
        }
        double norm = optimizer.await();
        double seconds = (System.nanoTime() - begin) * 1e-9;
        return new IterationReport(optimizer.step(), lr, loss, norm, pass.takeTokens(), seconds, List.of(), Gram.NONE, draws, Map.of());
    }
}
