package io.metalora.launcher.synthetic;

import java.util.List;

/** Ways to say the same thing, in each language; slots as in {@link String#format}. */
record Phrasings(List<String> english, List<String> german, List<String> spanish, List<String> dutch) {

    List<String> in(Language language) {
        return switch (language) {
            case ENGLISH -> english;
            case GERMAN -> german;
            case SPANISH -> spanish;
            case DUTCH -> dutch;
        };
    }
}
