package io.metalora.launcher.synthetic;

/** The languages of the lexicon, in the order of its columns. */
public enum Language {
    ENGLISH("eng"),
    GERMAN("deu"),
    SPANISH("spa"),
    DUTCH("nld");

    private final String code;

    Language(String code) {
        this.code = code;
    }

    /** The ISO 639-3 code. */
    public String code() {
        return code;
    }
}
