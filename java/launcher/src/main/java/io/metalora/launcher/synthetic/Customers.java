package io.metalora.launcher.synthetic;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.regex.Pattern;

/**
 * Customers of a warehouse. All send in the same kinds of goods, and each has them sorted into the same four bins by a
 * convention of its own, which no prompt tells: only a customer's samples do. A customer is a task; what one learns from many of
 * them is that goods are sorted by their kind, and what one needs of a new customer is which kind goes where.
 *
 * <p>Which goods a sample may name depends on its split, for all customers alike: test asks for goods that no training sample of
 * any customer names.
 */
final class Customers {

    private static final List<String> BINS = List.of("red", "blue", "green", "white");

    /** How many of a kind's twelve words only test may name. */
    private static final int TEST_WORDS = 3;

    private static final List<String> PHRASINGS = List.of(
            "%s sends one %s. Bin:", "Parcel from %s, with a %s. Bin:", "%s brought back the %s. Bin:", "A %s for %s. Bin:");

    private static final Pattern WORD_END = Pattern.compile("\\W+");
    /** Where among its kind's words each thing stands. */
    private static final Map<String, Integer> PLACES = places();

    private Customers() {
    }

    private static Map<String, Integer> places() {
        var places = new HashMap<String, Integer>();
        for (String kind : Lexicon.KINDS) {
            List<String> words = Lexicon.builtIn().group(Language.ENGLISH, kind);
            for (int i = 0; i < words.size(); i++) {
                places.put(words.get(i), i);
            }
        }
        return Collections.unmodifiableMap(places);
    }

    /**
     * Named {@code prefix-01} and on; a customer's convention depends on its name alone.
     *
     * @param devWords of a kind's twelve words, those that only dev may name; training has what is left of them
     */
    static List<Family> named(String prefix, int count, int devWords) {
        var all = new ArrayList<Family>();
        for (int i = 1; i <= count; i++) {
            all.add(customer("%s-%02d".formatted(prefix, i), devWords));
        }
        return all;
    }

    private static Family customer(String name, int devWords) {
        Map<String, String> bins = convention(new SplittableRandom(SyntheticTasks.hash(name, 0)));
        return Family.closed(name, Language.ENGLISH, BINS, draws -> {
            String kind = draws.kind();
            String thing = draws.word(kind);
            int phrasing = draws.number(0, PHRASINGS.size() - 1);
            String person = draws.word("name");
            boolean thingFirst = phrasing == PHRASINGS.size() - 1;
            return Sample.of(PHRASINGS.get(phrasing).formatted(thingFirst ? thing : person, thingFirst ? person : thing), bins.get(kind));
        }).splitBy(prompt -> split(prompt, devWords));
    }

    /** A bin for each of the six kinds: two bins take two kinds, two take one. */
    private static Map<String, String> convention(SplittableRandom random) {
        var draws = new Draws(random, Language.ENGLISH);
        var bins = new ArrayList<>(BINS);
        bins.addAll(draws.distinct(BINS, Lexicon.KINDS.size() - BINS.size()));
        List<String> order = draws.shuffled(bins);
        var convention = new HashMap<String, String>();
        for (int i = 0; i < order.size(); i++) {
            convention.put(Lexicon.KINDS.get(i), order.get(i));
        }
        return Collections.unmodifiableMap(convention);
    }

    /** By the place, in the lexicon, of the thing that the prompt names. */
    private static Split split(String prompt, int devWords) {
        for (String word : WORD_END.split(prompt)) {
            Integer place = PLACES.get(word);
            if (place != null) {
                return place < TEST_WORDS ? Split.TEST : place < TEST_WORDS + devWords ? Split.DEV : Split.TRAIN;
            }
        }
        throw new IllegalArgumentException("no thing in: " + prompt);
    }
}
