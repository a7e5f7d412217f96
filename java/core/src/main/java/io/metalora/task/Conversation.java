package io.metalora.task;

import io.metalora.runtime.InputException;
import io.metalora.task.ChatText.Span;
import io.metalora.text.ChatTemplate;
import io.metalora.text.Message;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * A conversation written by a model's chat template, and where in that text each assistant turn stands: from the end of what
 * the template writes before it to prompt the model, to the end of what it writes when the turn is the last. Both are found by
 * rendering the conversation's beginnings, so that a template needs no marks of its own. A turn ends with its end-of-turn token:
 * white space after that is written by the template alone.
 */
final class Conversation {

    private static final String ASSISTANT = "assistant";
    private static final String THOUGHT_END = "</think>";

    // Contents that share no character, to find by what two renderings have in common where a content begins and ends.
    private static final String ONE = "x";
    private static final String OTHER = "y";

    private final List<Message> messages;
    private final ChatTemplate template;
    private final String full;

    private Conversation(List<Message> messages, ChatTemplate template) {
        this.messages = messages;
        this.template = template;
        this.full = template.render(messages, false);
    }

    /**
     * An example whose completion is the last assistant turn.
     *
     * @throws InputException if the conversation has no turn to learn from, the template refuses it, or leaves a turn out
     */
    static Example example(List<Message> messages, ChatTemplate template, String source) {
        try {
            return new Conversation(messages, template).example(source);
        } catch (InputException e) {
            throw new InputException(source + ": " + e.getMessage(), e);
        }
    }

    private Example example(String source) {
        var turns = new ArrayList<Span>();
        int last = 0;
        int answerEnd = 0;
        for (int k = 1; k < messages.size(); k++) {
            if (messages.get(k).role().equals(ASSISTANT)) {
                int start = start(k);
                int end = end(k);
                answerEnd = answerEnd(k, start, end);
                String mark = full.substring(answerEnd, end);
                turns.add(new Span(start, mark.isBlank() ? end : answerEnd + mark.stripTrailing().length()));
                last = k;
            }
        }
        Span turn = turns.getLast();
        return new Example(template.render(messages.subList(0, last), true), full.substring(turn.start(), answerEnd), source,
                new ChatText(full, turns, asked(messages.subList(0, last))));
    }

    private static String asked(List<Message> messages) {
        return messages.stream().map(message -> message.role() + "\n" + message.content()).collect(Collectors.joining("\n\0"));
    }

    /** Where the turn begins that the model has to say. */
    private int start(int k) {
        String prompt = template.render(messages.subList(0, k), true);
        if (full.startsWith(prompt)) {
            return prompt.length();
        }
        // A template may write a turn otherwise when it is not the last. What it writes between the turn before and this one is
        // compared instead.
        int before = contentEnd(full, messages, k - 1, false);
        List<Message> prefix = messages.subList(0, k);
        return before + common(prompt.substring(contentEnd(prompt, prefix, k - 1, true)), full.substring(before));
    }

    private int end(int k) {
        List<Message> prefix = messages.subList(0, k + 1);
        String upTo = template.render(prefix, false);
        if (full.startsWith(upTo)) {
            return upTo.length();
        }
        int contentEnd = contentEnd(full, messages, k, false);
        return contentEnd + common(upTo.substring(contentEnd(upTo, prefix, k, false)), full.substring(contentEnd));
    }

    /** Where the content of message k ends in {@code rendered}: before what two renderings with other contents both end with. */
    private int contentEnd(String rendered, List<Message> of, int k, boolean addGenerationPrompt) {
        String one = template.render(with(of, k, ONE), addGenerationPrompt);
        String other = template.render(with(of, k, OTHER), addGenerationPrompt);
        int shared = 0;
        while (shared < Math.min(one.length(), other.length())
                && one.charAt(one.length() - 1 - shared) == other.charAt(other.length() - 1 - shared)) {
            shared++;
        }
        if (!rendered.endsWith(one.substring(one.length() - shared))) {
            throw new InputException("the chat template writes what follows message " + (k + 1)
                    + " in a way that depends on its text, so the assistant's turns can't be found; give prompt and completion");
        }
        return rendered.length() - shared;
    }

    private static List<Message> with(List<Message> messages, int k, String content) {
        var changed = new ArrayList<>(messages);
        changed.set(k, new Message(messages.get(k).role(), content));
        return changed;
    }

    private static int common(String a, String b) {
        int length = 0;
        while (length < Math.min(a.length(), b.length()) && a.charAt(length) == b.charAt(length)) {
            length++;
        }
        return length;
    }

    /** Where the answer ends and the template's mark of its end begins. Thoughts before it may be left out, or written otherwise. */
    private int answerEnd(int k, int start, int end) {
        String content = messages.get(k).content();
        String answer = content.substring(after(content)).strip();
        String turn = end > start ? full.substring(start, end) : "";
        int at = turn.indexOf(answer, after(turn));
        if (answer.isEmpty()) {
            throw new InputException("message " + (k + 1) + ", the assistant's, is empty, so there is nothing to learn; remove it or give it a text");
        }
        if (at < 0) {
            throw new InputException("the chat template leaves out or changes the text of message " + (k + 1)
                    + ", the assistant's, so there is nothing to learn from; mend the model's template, or give prompt and completion");
        }
        return start + at + answer.length();
    }

    /** Where the thoughts of a text are over; 0 where it has none. */
    private static int after(String text) {
        int at = text.lastIndexOf(THOUGHT_END);
        return at < 0 ? 0 : at + THOUGHT_END.length();
    }
}
