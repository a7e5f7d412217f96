package io.metalora.launcher.synthetic;

/**
 * One prompt and what should follow it.
 *
 * @param prompt the text to condition on
 * @param completion the answer; starts with a space
 */
public record Sample(String prompt, String completion) {

    static Sample of(String prompt, String answer) {
        return new Sample(prompt, " " + answer);
    }
}
