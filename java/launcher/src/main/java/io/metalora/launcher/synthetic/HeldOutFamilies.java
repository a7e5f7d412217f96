package io.metalora.launcher.synthetic;

import java.util.ArrayList;
import java.util.List;

/**
 * The families that the base model has not seen: new rules, new phrasings and new answers over the same lexicon. Each is
 * a task for adaptation.
 */
final class HeldOutFamilies {

    private static final List<String> MOVING_KINDS = List.of("animal", "vehicle");

    private HeldOutFamilies() {}

    /** Ten tasks in English. */
    static List<Family> multiTask() {
        return List.of(
                motion(), verdict(), phrasebook(), delivery(), majority(), stamp(), library(), carousel(), weekend(), ticket());
    }

    /** One task, {@code wish}, in each language. */
    static List<Family> multilingual() {
        return List.of(
                wish(Language.ENGLISH), wish(Language.GERMAN), wish(Language.SPANISH), wish(Language.DUTCH));
    }

    /** Do two things move on their own? Animals and vehicles do. */
    private static Family motion() {
        return Family.closed("motion", Language.ENGLISH, List.of("moving", "still", "mixed"), draws -> {
            int moving = draws.number(0, 2);
            var things = new ArrayList<String>();
            while (things.size() < 2) {
                String kind = draws.kind();
                String thing = draws.word(kind);
                if (MOVING_KINDS.contains(kind) == things.size() < moving && !things.contains(thing)) {
                    things.add(thing);
                }
            }
            var shown = draws.shuffled(things);
            return Sample.of(
                    draws.say(List.of("Photo of a scene with %s and %s. Scene:"), shown.get(0), shown.get(1)),
                    List.of("still", "mixed", "moving").get(moving));
        });
    }

    /** Will the guest return? What comes after "but" decides. */
    private static Family verdict() {
        return Family.closed("verdict", Language.ENGLISH, List.of("again", "never"), draws -> {
            var things = draws.things(2);
            boolean before = draws.flip();
            boolean after = draws.flip();
            return Sample.of(
                    draws.say(List.of("The guest thought that the %s was %s but the %s was %s. Visit:"),
                            things.get(0), draws.word(before ? "positive" : "negative"),
                            things.get(1), draws.word(after ? "positive" : "negative")),
                    after ? "again" : "never");
        });
    }

    /** What did a guest from abroad order? */
    private static Family phrasebook() {
        return Family.open("phrasebook", Language.ENGLISH, draws -> {
            var lexicon = Lexicon.builtIn();
            Language spoken = draws.pick(Language.GERMAN, Language.SPANISH, Language.DUTCH);
            String kind = draws.kind();
            int word = draws.number(0, draws.group(kind).size() - 1);
            return Sample.of(
                    draws.say(List.of("%s here! The guest from %s ordered %s. Send the"),
                            draws.word("name"), "the " + draws.word("place"), lexicon.group(spoken, kind).get(word)),
                    draws.group(kind).get(word));
        });
    }

    /** On which day does an order arrive, in two or three days? Nothing arrives on Sunday: then it is Monday. */
    private static Family delivery() {
        return Family.open("delivery", Language.ENGLISH, draws -> {
            int day = draws.number(0, 6);
            int steps = draws.number(2, 3);
            int arrival = (day + steps) % 7;
            var weekdays = draws.group("weekday");
            return Sample.of(
                    draws.say(List.of("%s ordered the %s on %s, delivery in %s days. Arrives:"),
                            draws.word("name"), draws.thing(), weekdays.get(day), draws.group("number").get(steps)),
                    weekdays.get(arrival == 6 ? 0 : arrival));
        });
    }

    /** Of three things two are of a kind; the answer is where that kind is at home. */
    private static Family majority() {
        return Family.closed("majority", Language.ENGLISH, places(Language.ENGLISH), draws -> {
            var kinds = draws.kinds(2);
            var list = new ArrayList<>(draws.words(kinds.get(0), 2));
            list.add(draws.word(kinds.get(1)));
            var shown = draws.shuffled(list);
            return Sample.of(
                    draws.say(List.of("The van brings %s, %s and %s. Stop at the"),
                            shown.get(0), shown.get(1), shown.get(2)),
                    draws.nameOfKind("place", kinds.get(0)));
        });
    }

    /** Four stamps, by what the message is about (sport or music) and whether it praises. */
    private static Family stamp() {
        return Family.closed("stamp", Language.ENGLISH, List.of("cheers", "boos", "encore", "refund"), draws -> {
            boolean sport = draws.flip();
            boolean praise = draws.flip();
            return Sample.of(
                    draws.say(List.of("Letter from %s: the %s and the %s were %s. Stamp:"),
                            draws.word("name"), draws.word(sport ? "sport" : "music"), draws.thing(),
                            draws.word(praise ? "positive" : "negative")),
                    sport ? (praise ? "cheers" : "boos") : (praise ? "encore" : "refund"));
        });
    }

    /** One thing was borrowed, one brought back: which is here? Told in either order. */
    private static Family library() {
        return Family.open("library", Language.ENGLISH, draws -> {
            var names = draws.words("name", 2);
            var things = draws.things(2);
            return Sample.of(
                    draws.say(
                            List.of("%s borrowed the %s, %s returned the %s. Here is the",
                                    "%3$s returned the %4$s, %1$s borrowed the %2$s. Here is the"),
                            names.get(0), things.get(0), names.get(1), things.get(1)),
                    things.get(1));
        });
    }

    /** The last of three words comes to the front. */
    private static Family carousel() {
        return Family.open("carousel", Language.ENGLISH, draws -> {
            var things = draws.things(3);
            return Sample.of(
                    draws.say(List.of("Carousel: %s, %s, %s. One turn:"), things.get(0), things.get(1), things.get(2)),
                    "%s, %s, %s".formatted(things.get(2), things.get(0), things.get(1)));
        });
    }

    /** Where does the van go? To where the thing is at home; on Saturday and Sunday to the house, whatever the thing. */
    private static Family weekend() {
        return Family.closed("weekend", Language.ENGLISH, places(Language.ENGLISH), draws -> {
            String kind = draws.kind();
            int day = draws.number(0, 6);
            return Sample.of(
                    draws.say(List.of("%s has the van on %s. It takes the %s to the"),
                            draws.word("name"), draws.group("weekday").get(day), draws.word(kind)),
                    day >= 5 ? "house" : draws.nameOfKind("place", kind));
        });
    }

    /** Which ticket does a person of an age need? Under 18 child, from 65 senior. */
    private static Family ticket() {
        return Family.closed("ticket", Language.ENGLISH, List.of("child", "adult", "senior"), draws -> {
            int group = draws.number(0, 2);
            int age = switch (group) {
                case 0 -> draws.number(1, 17);
                case 1 -> draws.number(18, 64);
                default -> draws.number(65, 99);
            };
            return Sample.of(
                    draws.say(List.of("%s is %d years old and takes the %s. Ticket:"),
                            draws.word("name"), age, draws.word("vehicle")),
                    List.of("child", "adult", "senior").get(group));
        });
    }

    private static final Phrasings WISH = new Phrasings(
            List.of("Message from %s: please no %s, send the %s. Forward to:", "Message from %s: send the %3$s, please no %2$s. Forward to:"),
            List.of("Meldung von %s: bitte kein %s, sondern %s schicken. Weiter an:", "Meldung von %s: %3$s schicken, bitte kein %2$s. Weiter an:"),
            List.of("Mensaje de %s: por favor sin %s, enviar %s. Pasar a:", "Mensaje de %s: enviar %3$s, por favor sin %2$s. Pasar a:"),
            List.of("Bericht van %s: graag geen %s, stuur %s. Door naar:", "Bericht van %s: stuur %3$s, graag geen %2$s. Door naar:"));

    /** A message asks for one thing and not another; it goes to the place where the wanted kind is at home. */
    private static Family wish(Language language) {
        return Family.closed("wish-" + language.code(), language, places(language), draws -> {
            var kinds = draws.kinds(2);
            return Sample.of(
                    draws.say(WISH.in(language), draws.word("name"), draws.word(kinds.get(0)), draws.word(kinds.get(1))),
                    draws.nameOfKind("place", kinds.get(1)));
        });
    }

    private static List<String> places(Language language) {
        return Lexicon.builtIn().group(language, "place");
    }
}
