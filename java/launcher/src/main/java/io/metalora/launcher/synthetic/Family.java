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
 */
record Family(String name, Language language, List<String> labels, Function<Draws, Sample> rule) {

    static Family open(String name, Language language, Function<Draws, Sample> rule) {
        return new Family(name, language, List.of(), rule);
    }

    static Family closed(String name, Language language, List<String> answers, Function<Draws, Sample> rule) {
        return new Family(name, language, answers.stream().map(answer -> " " + answer).toList(), rule);
    }

    Sample draw(SplittableRandom random) {
        return rule.apply(new Draws(random, language));
    }
}
