package io.metalora.launcher.synthetic;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * The families that the base model is trained on. They teach what words mean (kind, tone, topic, translation, order of
 * numbers and days) and how to handle short lists; the held-out tasks ask for the same abilities under other rules,
 * phrasings and answers.
 */
final class PretrainingFamilies {

    private PretrainingFamilies() {}

    static List<Family> all() {
        var families = new ArrayList<Family>();
        for (Language language : Language.values()) {
            families.addAll(multilingual(language));
        }
        families.addAll(english());
        return List.copyOf(families);
    }

    /** What the second stage of training repeats: the families without numbers and long lists, and plain tone. */
    static List<Family> core() {
        var families = new ArrayList<Family>();
        for (Family family : all()) {
            if (CORE.contains(family.name().replaceFirst("-(eng|deu|spa|nld)$", ""))) {
                families.add(family);
            }
        }
        for (Language language : Language.values()) {
            families.add(plainTone(language));
        }
        return List.copyOf(families);
    }

    private static final List<String> CORE = List.of(
            "kind", "is-a", "where", "tone", "topic", "choice", "look-up", "day-after", "translation", "day-steps", "edit",
            "same-kind", "odd-one-out", "find-kind", "colour-of", "all-are", "new-names");

    private static final Phrasings KIND = new Phrasings(
            List.of("What kind of thing is %s?", "%s is a kind of", "Kind of %s:"),
            List.of("Was für ein Ding ist %s?", "%s ist eine Art von", "Art von %s:"),
            List.of("¿Qué tipo de cosa es %s?", "%s es un tipo de", "Tipo de %s:"),
            List.of("Wat voor ding is %s?", "%s is een soort", "Soort van %s:"));

    private static final Phrasings IS_A = new Phrasings(
            List.of("Is %s a kind of %s?", "Does %s belong to %s?"),
            List.of("Ist %s eine Art von %s?", "Gehört %s zu %s?"),
            List.of("¿Es %s un tipo de %s?", "¿Pertenece %s a %s?"),
            List.of("Is %s een soort %s?", "Hoort %s bij %s?"));

    private static final Phrasings TONE = new Phrasings(
            List.of("The %s was %s. Tone:", "I found the %s %s. That sounds", "%s: %s. This is"),
            List.of("%s war %s. Ton:", "Ich fand %s %s. Das klingt", "%s: %s. Das ist"),
            List.of("%s era %s. Tono:", "Me pareció %s %s. Eso suena", "%s: %s. Esto es"),
            List.of("%s was %s. Toon:", "Ik vond %s %s. Dat klinkt", "%s: %s. Dit is"));

    private static final Phrasings NOT = new Phrasings(
            List.of("not %s"), List.of("nicht %s"), List.of("no %s"), List.of("niet %s"));

    private static final Phrasings TOPIC = new Phrasings(
            List.of("We talked about the %s and the %s. Topic:", "News: %s, %s. This is about"),
            List.of("Wir sprachen über %s und %s. Thema:", "Nachricht: %s, %s. Es geht um"),
            List.of("Hablamos de %s y %s. Tema:", "Noticia: %s, %s. Se trata de"),
            List.of("We spraken over %s en %s. Onderwerp:", "Nieuws: %s, %s. Dit gaat over"));

    private static final Phrasings WHERE = new Phrasings(
            List.of("Where do you find the %s? In the", "Place for %s:"),
            List.of("Wo findet man %s? Ort:", "Platz für %s:"),
            List.of("¿Dónde se encuentra %s? Lugar:", "Sitio para %s:"),
            List.of("Waar vind je %s? Plek:", "Plaats voor %s:"));

    private static final Phrasings CHOICE = new Phrasings(
            List.of("%s does not take the %s but the %s. %1$s takes the", "%s takes the %3$s, not the %2$s. %1$s takes the"),
            List.of("%s nimmt nicht %s, sondern %s. %1$s nimmt", "%s nimmt %3$s, nicht %2$s. %1$s nimmt"),
            List.of("%s no toma %s, sino %s. %1$s toma", "%s toma %3$s, no %2$s. %1$s toma"),
            List.of("%s neemt niet %s, maar %s. %1$s neemt", "%s neemt %3$s, niet %2$s. %1$s neemt"));

    private static final Phrasings LOOK_UP = new Phrasings(
            List.of("%s has the %s, %s has the %s. What has %s? The"),
            List.of("%s hat %s, %s hat %s. Was hat %s?"),
            List.of("%s tiene %s, %s tiene %s. ¿Qué tiene %s?"),
            List.of("%s heeft %s, %s heeft %s. Wat heeft %s?"));

    private static final Phrasings DAY_AFTER = new Phrasings(
            List.of("The day after %s is"), List.of("Der Tag nach %s ist"),
            List.of("El día después de %s es"), List.of("De dag na %s is"));

    private static Family plainTone(Language language) {
        return Family.open("plain-tone-" + language.code(), language, draws -> {
            boolean positive = draws.flip();
            return Sample.of(
                    draws.say(TONE.in(language), draws.thing(), draws.word(positive ? "positive" : "negative")),
                    draws.group("tone").get(positive ? 0 : 1));
        });
    }

    private static List<Family> multilingual(Language language) {
        String suffix = "-" + language.code();
        return List.of(
                Family.open("kind" + suffix, language, draws -> {
                    String kind = draws.kind();
                    return Sample.of(
                            draws.say(KIND.in(language), draws.word(kind)), draws.nameOfKind("kind", kind));
                }),
                Family.open("is-a" + suffix, language, draws -> {
                    String kind = draws.kind();
                    boolean yes = draws.flip();
                    String asked = yes ? kind : draws.pick(other(Lexicon.KINDS, kind));
                    return Sample.of(
                            draws.say(IS_A.in(language), draws.word(kind), draws.nameOfKind("kind", asked)),
                            draws.yesNo(yes));
                }),
                Family.open("where" + suffix, language, draws -> {
                    String kind = draws.kind();
                    return Sample.of(
                            draws.say(WHERE.in(language), draws.word(kind)), draws.nameOfKind("place", kind));
                }),
                Family.open("tone" + suffix, language, draws -> {
                    boolean positive = draws.flip();
                    boolean negated = draws.flip();
                    String adjective = draws.word(positive ? "positive" : "negative");
                    String said = negated ? draws.say(NOT.in(language), adjective) : adjective;
                    return Sample.of(
                            draws.say(TONE.in(language), draws.thing(), said),
                            draws.group("tone").get(positive != negated ? 0 : 1));
                }),
                Family.open("topic" + suffix, language, draws -> {
                    int topic = draws.number(0, Lexicon.TOPICS.size() - 1);
                    var cues = draws.words(Lexicon.TOPICS.get(topic), 2);
                    return Sample.of(
                            draws.say(TOPIC.in(language), cues.get(0), cues.get(1)),
                            draws.group("topic").get(topic));
                }),
                Family.open("choice" + suffix, language, draws -> {
                    var things = draws.things(2);
                    return Sample.of(
                            draws.say(CHOICE.in(language), draws.word("name"), things.get(0), things.get(1)),
                            things.get(1));
                }),
                Family.open("look-up" + suffix, language, draws -> {
                    var names = draws.words("name", 2);
                    var things = draws.things(2);
                    int asked = draws.number(0, 1);
                    return Sample.of(
                            draws.say(
                                    LOOK_UP.in(language),
                                    names.get(0), things.get(0), names.get(1), things.get(1), names.get(asked)),
                            things.get(asked));
                }),
                Family.open("day-after" + suffix, language, draws -> {
                    int day = draws.number(0, 6);
                    return Sample.of(
                            draws.say(DAY_AFTER.in(language), draws.group("weekday").get(day)),
                            draws.group("weekday").get((day + 1) % 7));
                }),
                Family.open("translation" + suffix, language, draws -> {
                    String group = draws.pick(draws.kind(), draws.pick(Lexicon.TOPICS),
                            draws.pick("positive", "negative", "colour", "weekday", "place"));
                    int word = draws.number(0, draws.group(group).size() - 1);
                    Language target = draws.pick(other(List.of(Language.values()), language));
                    return Sample.of(
                            "%s > %s: %s =".formatted(
                                    language.code(), target.code(), draws.group(group).get(word)),
                            Lexicon.builtIn().group(target, group).get(word));
                }));
    }

    private static List<Family> english() {
        Language language = Language.ENGLISH;
        return List.of(
                Family.open("larger", language, draws -> {
                    int[] pair = unequal(draws, 0, 99);
                    boolean larger = draws.flip();
                    int answer = larger ? Math.max(pair[0], pair[1]) : Math.min(pair[0], pair[1]);
                    return Sample.of(
                            draws.say(List.of("Which number is %s, %d or %d?", "The %s of %d and %d is"),
                                    larger ? "larger" : "smaller", pair[0], pair[1]),
                            Integer.toString(answer));
                }),
                Family.open("is-larger", language, draws -> {
                    int[] pair = unequal(draws, 0, 99);
                    boolean larger = draws.flip();
                    return Sample.of(
                            draws.say(List.of("Is %d %s than %d?", "True or not: %d is %s than %d."),
                                    pair[0], larger ? "larger" : "smaller", pair[1]),
                            draws.yesNo(larger == pair[0] > pair[1]));
                }),
                Family.open("who-has-more", language, draws -> {
                    int[] pair = unequal(draws, 10, 99);
                    boolean more = draws.flip();
                    var names = draws.words("name", 2);
                    return Sample.of(
                            draws.say(List.of("%s has %d points, %s has %d. Who has %s?"),
                                    names.get(0), pair[0], names.get(1), pair[1], more ? "more" : "less"),
                            names.get(more == pair[0] > pair[1] ? 0 : 1));
                }),
                Family.open("order", language, draws -> {
                    int[] pair = unequal(draws, 10, 99);
                    return Sample.of(
                            draws.say(List.of("Sort: %d, %d ->", "In rising order, %d and %d are"), pair[0], pair[1]),
                            Math.min(pair[0], pair[1]) + ", " + Math.max(pair[0], pair[1]));
                }),
                Family.open("parity", language, draws -> {
                    int number = draws.number(0, 99);
                    return Sample.of(
                            draws.say(List.of("Is %d even or odd?", "The number %d is"), number),
                            number % 2 == 0 ? "even" : "odd");
                }),
                Family.open("sum", language, draws -> {
                    int a = draws.number(0, 9);
                    int b = draws.number(0, 9 - a);
                    if (draws.flip()) {
                        return Sample.of(
                                draws.say(List.of("%d plus %d is", "%d + %d ="), a, b), Integer.toString(a + b));
                    }
                    return Sample.of(
                            draws.say(List.of("%d minus %d is", "%d - %d ="), a + b, b), Integer.toString(a));
                }),
                Family.open("number-story", language, draws -> {
                    int a = draws.number(0, 9);
                    int b = draws.number(0, 9 - a);
                    boolean gets = draws.flip();
                    return Sample.of(
                            draws.say(List.of("%s has %d coins and %s %d. Coins left:"),
                                    draws.word("name"), gets ? a : a + b, gets ? "gets" : "loses", b),
                            Integer.toString(gets ? a + b : a));
                }),
                Family.open("next-number", language, draws -> {
                    int step = draws.number(1, 3);
                    int start = draws.number(0, 9 - 3 * step);
                    return Sample.of(
                            draws.say(List.of("Series: %d, %d, %d,", "What comes after %d, %d, %d?"),
                                    start, start + step, start + 2 * step),
                            Integer.toString(start + 3 * step));
                }),
                Family.open("day-steps", language, draws -> {
                    int day = draws.number(0, 6);
                    int steps = draws.number(1, 3);
                    boolean after = draws.flip();
                    return Sample.of(
                            draws.say(List.of("%3$s, %1$d days %2$s:", "Today is %3$s. The day %1$d days %2$s is"),
                                    steps, after ? "later" : "before", draws.group("weekday").get(day)),
                            draws.group("weekday").get((day + 7 + (after ? steps : -steps)) % 7));
                }),
                Family.open("position", language, draws -> {
                    var list = items(draws, draws.number(2, 4));
                    int at = draws.number(0, 3);
                    int index = at == 3 ? list.size() - 1 : Math.min(at, list.size() - 1);
                    String asked = at == 3 ? "last" : List.of("first", "second", "third").get(index);
                    return Sample.of(
                            draws.say(List.of("List: %s. The %s word is", "In %s the %s one is"), join(list), asked),
                            list.get(index));
                }),
                Family.open("edit", language, draws -> {
                    var list = items(draws, draws.number(2, 4));
                    var edited = new ArrayList<>(list);
                    String edit = draws.pick("Copy", "Reverse", "Swap the first two", "Drop the first", "Drop the last");
                    switch (edit) {
                        case "Reverse" -> Collections.reverse(edited);
                        case "Swap the first two" -> Collections.swap(edited, 0, 1);
                        case "Drop the first" -> edited.removeFirst();
                        case "Drop the last" -> edited.removeLast();
                        default -> { }
                    }
                    return Sample.of(edit + ": " + join(list) + " ->", join(edited));
                }),
                Family.open("member", language, draws -> {
                    var list = items(draws, draws.number(2, 4));
                    boolean yes = draws.flip();
                    String asked = yes ? draws.pick(list) : draws.pick(without(items(draws, 6), list));
                    return Sample.of(
                            draws.say(List.of("Is %2$s in this list: %1$s?", "%s. Do you see %s here?"),
                                    join(list), asked),
                            draws.yesNo(yes));
                }),
                Family.open("count", language, draws -> {
                    var pair = draws.things(2);
                    int times = draws.number(0, 3);
                    int others = draws.number(times == 0 ? 1 : 0, 4 - times);
                    var list = new ArrayList<>(Collections.nCopies(times, pair.get(0)));
                    list.addAll(Collections.nCopies(others, pair.get(1)));
                    return Sample.of(
                            draws.say(List.of("%2$s. Times that %1$s appears:", "How often is %s in: %s?"),
                                    pair.get(0), join(draws.shuffled(list))),
                            draws.group("number").get(times));
                }),
                Family.open("alternation", language, draws -> {
                    var pair = items(draws, 2);
                    String a = pair.get(0);
                    String b = pair.get(1);
                    boolean odd = draws.flip();
                    return Sample.of(
                            draws.say(List.of("Pattern: %s", "Go on: %s"),
                                    join(odd ? List.of(a, b, a, b, a) : List.of(a, b, a, b))) + ",",
                            odd ? b : a);
                }),
                Family.open("same-kind", language, draws -> {
                    var kinds = draws.kinds(2);
                    boolean yes = draws.flip();
                    var things = yes
                            ? draws.words(kinds.get(0), 2)
                            : List.of(draws.word(kinds.get(0)), draws.word(kinds.get(1)));
                    return Sample.of(
                            draws.say(List.of("Are %s and %s of the same kind?", "%s goes with %s?"),
                                    things.get(0), things.get(1)),
                            draws.yesNo(yes));
                }),
                Family.open("odd-one-out", language, draws -> {
                    var kinds = draws.kinds(2);
                    var list = new ArrayList<>(draws.words(kinds.get(0), 2));
                    String odd = draws.word(kinds.get(1));
                    list.add(draws.number(0, 2), odd);
                    return Sample.of(
                            draws.say(List.of("The odd one out of %s is", "Which does not fit: %s?"), join(list)), odd);
                }),
                Family.open("find-kind", language, draws -> {
                    var kinds = draws.kinds(3);
                    int asked = draws.number(0, 2);
                    var list = kinds.stream().map(draws::word).toList();
                    return Sample.of(
                            draws.say(List.of("Which one is a kind of %2$s: %1$s?", "From %s take the %s:"),
                                    join(list), draws.nameOfKind("kind", kinds.get(asked))),
                            list.get(asked));
                }),
                Family.open("colour-of", language, draws -> {
                    var things = draws.things(3);
                    var colours = draws.words("colour", 3);
                    int asked = draws.number(0, 2);
                    return Sample.of(
                            draws.say(List.of("The %s is %s, the %s is %s, the %s is %s. Colour of the %s:"),
                                    things.get(0), colours.get(0), things.get(1), colours.get(1),
                                    things.get(2), colours.get(2), things.get(asked)),
                            colours.get(asked));
                }),
                Family.open("table", language, draws -> {
                    var keys = items(draws, 3);
                    var values = draws.flip() ? draws.words("label", 3) : draws.words(draws.pick("place", "colour"), 3);
                    int asked = draws.number(0, 2);
                    return Sample.of(
                            draws.say(List.of("%s = %s; %s = %s; %s = %s; %s ="),
                                    keys.get(0), values.get(0), keys.get(1), values.get(1),
                                    keys.get(2), values.get(2), keys.get(asked)),
                            values.get(asked));
                }),
                Family.open("all-are", language, draws -> {
                    var kinds = draws.kinds(2);
                    var colours = draws.words("colour", 2);
                    boolean yes = draws.flip();
                    return Sample.of(
                            draws.say(List.of("Each %s is %s. Is the %s %s?"),
                                    draws.nameOfKind("kind", kinds.get(0)), colours.get(0),
                                    draws.word(kinds.get(0)), colours.get(yes ? 0 : 1)),
                            draws.yesNo(yes));
                }),
                // Examples of a made-up naming of kinds, then one more to be named: answers are learned from context.
                Family.open("new-names", language, draws -> {
                    var kinds = draws.kinds(2);
                    var labels = draws.words("label", 2);
                    int asked = draws.number(0, 1);
                    int first = draws.number(0, 1);
                    var shown = List.of(draws.word(kinds.get(0)), draws.word(kinds.get(1)));
                    String question = draws.pick(without(draws.group(kinds.get(asked)), shown));
                    return Sample.of(
                            "%s: %s. %s: %s. %s:".formatted(
                                    shown.get(first), labels.get(first), shown.get(1 - first), labels.get(1 - first),
                                    question),
                            labels.get(asked));
                }));
    }

    /** Distinct words of many groups, so that lists, tables and copies see every word, labels included. */
    private static List<String> items(Draws draws, int n) {
        var items = new ArrayList<String>(n);
        while (items.size() < n) {
            String item = draws.number(0, 2) > 0
                    ? draws.thing()
                    : draws.word(draws.pick("label", "place", "name", "colour", draws.pick(Lexicon.TOPICS)));
            if (!items.contains(item)) {
                items.add(item);
            }
        }
        return items;
    }

    private static int[] unequal(Draws draws, int low, int high) {
        int a = draws.number(low, high);
        int b = draws.number(low, high - 1);
        return new int[] {a, b < a ? b : b + 1};
    }

    private static <T> List<T> other(List<T> list, T than) {
        return without(list, List.of(than));
    }

    private static <T> List<T> without(List<T> list, List<T> than) {
        return list.stream().filter(element -> !than.contains(element)).toList();
    }

    private static String join(List<String> list) {
        return String.join(", ", list);
    }
}
