package io.metalora.task;

import io.metalora.file.Sha256;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Cuts dev and test splits off the training examples of tasks that have no such files. A hash of its prompt places an example,
 * so that it stays where it is when others are added, removed or reordered, and examples with the same prompt stay together; of a
 * conversation, a hash of what is said before its last turn, however a template writes it.
 *
 * @param dev  the share of the training examples that becomes the dev split, about; 0: none
 * @param test the same of the test split
 */
public record ContentSplit(double dev, double test) {

    /** Leaves tasks as they are. */
    public static final ContentSplit NONE = new ContentSplit(0, 0);

    private static final int BITS = 53;

    /** Whether it leaves tasks as they are. */
    public boolean isNone() {
        return dev == 0 && test == 0;
    }

    /**
     * Each task with the splits it lacks.
     *
     * @throws InputException if a split of a task would hold nothing
     */
    public List<Task> of(List<Task> tasks) {
        return isNone() ? tasks : tasks.stream().map(this::of).toList();
    }

    private Task of(Task task) {
        boolean cutsDev = dev > 0 && task.dev().isEmpty();
        boolean cutsTest = test > 0 && task.test().isEmpty();
        if (!cutsDev && !cutsTest || task.train().isEmpty()) {
            return task;
        }
        var train = new ArrayList<Example>();
        var forDev = new ArrayList<Example>();
        var forTest = new ArrayList<Example>();
        for (Example example : task.train()) {
            double place = place(example.chat() == null ? example.prompt() : example.chat().asked());
            // The test split has its range whatever the others are, so that another share of dev leaves it as it is.
            boolean inTest = place < test;
            boolean inDev = !inTest && place < test + dev;
            (cutsTest && inTest ? forTest : cutsDev && inDev ? forDev : train).add(example);
        }
        requireSome(task, "training", train);
        if (cutsDev) {
            requireSome(task, "dev", forDev);
        }
        if (cutsTest) {
            requireSome(task, "test", forTest);
        }
        return new Task(task.name(), train, cutsDev ? forDev : task.dev(), cutsTest ? forTest : task.test());
    }

    private static void requireSome(Task task, String split, List<Example> examples) {
        if (examples.isEmpty()) {
            throw new InputException("data.split leaves task " + Shown.plain(task.name()) + " with no " + split + " examples of the "
                    + task.train().size() + " in its training file (those with the same prompt stay together); change its shares, "
                    + "give the task more examples or files of its own, or leave it out with data.names");
        }
    }

    /** From 0 to 1, excluded, evenly over texts. */
    private static double place(String prompt) {
        byte[] hash = Sha256.digest().digest(prompt.getBytes(StandardCharsets.UTF_8));
        return new BigInteger(1, hash).shiftRight(Byte.SIZE * hash.length - BITS).longValue() * 0x1p-53;
    }
}
