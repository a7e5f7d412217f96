package io.metalora.launcher.synthetic;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Function;

/**
 * A rule that makes samples in one language.
 *
 * @param name unique among the families of a setting; also the name of the task's folder
 * @param language the language of the text
 * @param labels the closed set of completions, each with its leading space; empty where answers are open
 * @param rule draws one sample
 * @param split tells from a prompt which split it belongs to
 */
record Family(String name, Language language, List<String> labels, Function<Draws, Sample> rule, Function<String, Split> split) {

    /** Of 16 parts of the hash space, which belong to test and to dev; the rest is for training. */
    private static final int HASH_PARTS = 16;

    private Family(String name, Language language, List<String> labels, Function<Draws, Sample> rule) {
        this(name, language, labels, rule, prompt -> switch ((int) Long.remainderUnsigned(SyntheticTasks.hash(name + "\n" + prompt, 0), HASH_PARTS)) {
            case 0, 1 -> Split.TEST;
            case 2 -> Split.DEV;
            default -> Split.TRAIN;
        });
    }

    static Family open(String name, Language language, Function<Draws, Sample> rule) {
        return new Family(name, language, List.of(), rule);
    }

    static Family closed(String name, Language language, List<String> answers, Function<Draws, Sample> rule) {
        return new Family(name, language, answers.stream().map(answer -> " " + answer).toList(), rule);
    }

    Family splitBy(Function<String, Split> other) {
        return new Family(name, language, labels, rule, other);
    }

    Sample draw(SplittableRandom random) {
        return rule.apply(new Draws(random, language));
    }
}
