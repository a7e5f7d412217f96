package io.metalora.launcher.synthetic;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/** Random draws from the lexicon in one language. SplittableRandom's sequence is specified, so a seed gives the same text on every JDK. */
final class Draws {

    private final SplittableRandom random;
    private final Language language;
    private final Lexicon lexicon = Lexicon.builtIn();

    Draws(SplittableRandom random, Language language) {
        this.random = random;
        this.language = language;
    }

    Language language() {
        return language;
    }

    /** Uniform in [low, high]. */
    int number(int low, int high) {
        return random.nextInt(low, high + 1);
    }

    boolean flip() {
        return random.nextBoolean();
    }

    @SafeVarargs
    final <T> T pick(T... choices) {
        return choices[random.nextInt(choices.length)];
    }

    <T> T pick(List<T> choices) {
        return choices.get(random.nextInt(choices.size()));
    }

    /** n distinct elements in random order. */
    <T> List<T> distinct(List<T> choices, int n) {
        return shuffled(choices).subList(0, n);
    }

    <T> List<T> shuffled(List<T> list) {
        var copy = new ArrayList<>(list);
        for (int i = copy.size() - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            T swapped = copy.get(i);
            copy.set(i, copy.get(j));
            copy.set(j, swapped);
        }
        return copy;
    }

    List<String> group(String group) {
        return lexicon.group(language, group);
    }

    String word(String group) {
        return pick(group(group));
    }

    List<String> words(String group, int n) {
        return distinct(group(group), n);
    }

    String kind() {
        return pick(Lexicon.KINDS);
    }

    List<String> kinds(int n) {
        return distinct(Lexicon.KINDS, n);
    }

    String thing() {
        return word(kind());
    }

    /** n distinct things of any kinds. */
    List<String> things(int n) {
        var things = new ArrayList<String>(n);
        while (things.size() < n) {
            String thing = thing();
            if (!things.contains(thing)) {
                things.add(thing);
            }
        }
        return things;
    }

    String nameOfKind(String naming, String kind) {
        return lexicon.nameOfKind(language, naming, kind);
    }

    String yesNo(boolean yes) {
        return group("answer").get(yes ? 0 : 1);
    }

    /** Fills one of the phrasings; %s or %1$s stand for the slots. */
    String say(List<String> phrasings, Object... slots) {
        return pick(phrasings).formatted(slots);
    }
}
