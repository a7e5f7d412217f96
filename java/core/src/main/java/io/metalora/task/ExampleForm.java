package io.metalora.task;

import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.text.Message;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The forms that a record of an example may have; a file's is that of its first record. */
enum ExampleForm {

    /** {@code prompt} and {@code completion}. */
    COMPLETION("a prompt and a completion"),
    /** {@code messages} of {@code role} and {@code content}, as OpenAI and transformers have them. */
    MESSAGES("a conversation of messages with role and content"),
    /** {@code conversations} of {@code from} and {@code value}. */
    SHARE_GPT("a ShareGPT conversation of turns with from and value"),
    /** {@code instruction}, {@code input} and {@code output}. */
    ALPACA("an Alpaca instruction with output");

    private static final int SHOWN = 80;
    private static final int MOST_NAMES = 20;

    // Stanford Alpaca's prompts, with the line end that the text column of its data has before the answer.
    private static final String WITH_INPUT = "Below is an instruction that describes a task, paired with an input that provides further context. "
            + "Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:\n";
    private static final String WITHOUT_INPUT = "Below is an instruction that describes a task. "
            + "Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Response:\n";

    private final String words;

    ExampleForm(String words) {
        this.words = words;
    }

    /** What a record of this form is. */
    @Override
    public String toString() {
        return words;
    }

    /** The form that a record has by its keys; of one without any of them the first, so that what it lacks is told. */
    static ExampleForm of(JsonNode record, Columns columns) {
        if (columns.ofCompletion()) {
            return COMPLETION;
        }
        if (columns.ofInstruction()) {
            return ALPACA;
        }
        if (columns.messages() != null) {
            return ofTurns(record.path(columns.messages()), MESSAGES);
        }
        if (record.has("prompt") && record.has("completion")) {
            return COMPLETION;
        }
        if (record.has("messages")) {
            return ofTurns(record.path("messages"), MESSAGES);
        }
        if (record.has("conversations")) {
            return ofTurns(record.path("conversations"), SHARE_GPT);
        }
        return record.has("instruction") ? ALPACA : COMPLETION;
    }

    /** The form of a list of turns by the keys of its first, {@code usual} where that has neither's. */
    private static ExampleForm ofTurns(JsonNode turns, ExampleForm usual) {
        return turns.path(0).has("from") ? SHARE_GPT : turns.path(0).has("role") ? MESSAGES : usual;
    }

    /** The key of the turns. */
    private static String turnsKey(JsonNode record, ExampleForm form) {
        String usual = form == MESSAGES ? "messages" : "conversations";
        String other = form == MESSAGES ? "conversations" : "messages";
        return !record.has(usual) && record.has(other) ? other : usual;
    }

    /** Whether a record has this form's keys, rather than none of any form. */
    boolean hasKeys(JsonNode record, Columns columns) {
        return switch (this) {
            case COMPLETION -> record.has("prompt") && record.has("completion");
            case MESSAGES, SHARE_GPT -> record.has(columns.messages() != null ? columns.messages() : turnsKey(record, this));
            case ALPACA -> record.has("instruction");
        };
    }

    /**
     * The example of a record.
     *
     * @throws InputException that begins with {@code source}, if it isn't one of this form
     */
    Example read(JsonNode record, ReadOptions options, String source) {
        Columns columns = options.columns();
        return switch (this) {
            case COMPLETION -> new Example(text(record, columns.prompt(), "prompt", source),
                    filled(text(record, columns.completion(), "completion", source), "completion", source), source);
            case ALPACA -> alpaca(record, columns, source);
            case MESSAGES -> chat(record, columns.messages(), turnsKey(record, this), "role", "content", options, source);
            case SHARE_GPT -> chat(record, columns.messages(), turnsKey(record, this), "from", "value", options, source);
        };
    }

    private static Example alpaca(JsonNode record, Columns columns, String source) {
        String instruction = text(record, columns.instruction(), "instruction", source);
        String output = filled(text(record, columns.output(), "output", source), "output", source);
        boolean hasInput = columns.input() != null || record.hasNonNull("input");
        String input = hasInput ? text(record, columns.input(), "input", source) : "";
        for (String ignored : List.of("history", "system")) {
            JsonNode other = record.path(ignored);
            if (other.isTextual() ? !other.textValue().isEmpty() : !other.isEmpty()) {
                throw new InputException(source + ": \"" + ignored + "\" beside an instruction is not supported; write the example as messages");
            }
        }
        return new Example(input.isEmpty() ? WITHOUT_INPUT.formatted(instruction) : WITH_INPUT.formatted(instruction, input), output, source);
    }

    private static Example chat(JsonNode record, String column, String usual, String roleKey, String contentKey, ReadOptions options,
                                String source) {
        JsonNode turns = value(record, column, usual, source);
        if (!turns.isArray() || turns.isEmpty()) {
            throw new InputException(source + ": \"" + (column == null ? usual : column) + "\" must be a list of turns, each with \"" + roleKey
                    + "\" and \"" + contentKey + "\", but is " + shown(turns));
        }
        var messages = new ArrayList<Message>();
        for (String tools : List.of("tools", "functions")) {
            if (!record.path(tools).isEmpty() || record.path(tools).isTextual() && !record.path(tools).textValue().isBlank()) {
                throw new InputException(source + ": \"" + tools + "\" beside a conversation is not supported, since the template would write them; "
                        + "remove the example, or give prompt and completion");
            }
        }
        if (roleKey.equals("from") && record.hasNonNull("system")) {
            String system = text(record, null, "system", source);
            if (!system.isEmpty()) {
                messages.add(Message.system(system));
            }
        }
        for (int i = 0; i < turns.size(); i++) {
            String turn = source + ": turn " + (i + 1);
            JsonNode node = turns.get(i);
            if (!node.isObject()) {
                throw new InputException(turn + " must be an object with \"" + roleKey + "\" and \"" + contentKey + "\", but is " + shown(node));
            }
            if (node.has(roleKey.equals("role") ? "from" : "role") && !node.has(roleKey)) {
                throw new InputException(turn + " has other keys than the file's first conversation, whose turns have \"" + roleKey + "\" and \""
                        + contentKey + "\"; a file holds one form");
            }
            String role = role(text(node, null, roleKey, turn), roleKey, turn);
            if (node.path("tool_calls").size() > 0 || node.path("function_call").size() > 0) {
                throw toolTurn(turn);
            }
            messages.add(new Message(role, text(node, null, contentKey, turn)));
        }
        int first = messages.getFirst().role().equals("system") ? 1 : 0;
        if (messages.stream().noneMatch(message -> message.role().equals("assistant"))) {
            throw new InputException(source + ": the conversation has no assistant turn, so there is nothing to learn; remove it or add one");
        }
        if (!messages.get(first).role().equals("user")) {
            throw new InputException(source + ": the conversation begins with a turn of the " + messages.get(first).role()
                    + ", which answers nothing; begin it with one of the user");
        }
        try {
            return Conversation.example(messages, options.template().get(), source);
        } catch (InputException e) {
            throw e.getMessage().startsWith(source) ? e : new InputException(source + ": " + e.getMessage(), e);
        }
    }

    private static String role(String given, String key, String turn) {
        return switch (given.toLowerCase(Locale.ROOT)) {
            case "system" -> "system";
            case "user", "human" -> "user";
            case "assistant", "gpt" -> "assistant";
            case "tool", "function", "function_call", "observation", "ipython" -> throw toolTurn(turn);
            default -> throw new InputException(turn + ": \"" + key + "\" is " + Shown.quoted(given) + ", but must be "
                    + (key.equals("from") ? "system, human or gpt" : "system, user or assistant"));
        };
    }

    private static InputException toolTurn(String turn) {
        return new InputException(turn + " calls a tool, or is a tool's, which chat data can't have here; remove the conversation, or write it as "
                + "prompt and completion");
    }

    /** @param column as configured, or null for the usual name */
    private static String text(JsonNode record, String column, String usual, String source) {
        JsonNode value = value(record, column, usual, source);
        if (!value.isTextual()) {
            throw new InputException(source + ": \"" + (column == null ? usual : column) + "\" must be a string, but is " + shown(value));
        }
        return value.textValue();
    }

    private static JsonNode value(JsonNode record, String column, String usual, String source) {
        JsonNode value = record.get(column == null ? usual : column);
        if (value != null) {
            return value;
        }
        var names = new ArrayList<String>();
        record.fieldNames().forEachRemaining(name -> names.add(Shown.plain(name)));
        if (column != null) {
            throw new InputException(source + ": there is no " + Shown.quoted(column) + ", which data.columns names for " + usual + "; there are "
                    + Shown.first(names, MOST_NAMES));
        }
        throw new InputException(source + ": the key \"" + usual + "\" is missing" + switch (usual) {
            case "prompt", "completion" -> "; a line needs \"prompt\" and \"completion\"";
            case "instruction", "output" -> "; an instruction needs \"instruction\" and \"output\", and may have \"input\"";
            default -> "";
        } + (names.isEmpty() ? "" : " (it has " + Shown.first(names, MOST_NAMES) + "; data.columns can name others)"));
    }

    private static String filled(String text, String key, String source) {
        if (text.isEmpty()) {
            throw new InputException(source + ": the " + key + " is empty, so there is nothing to learn or to score; "
                    + "remove the line or give it a " + key);
        }
        return text;
    }

    private static String shown(JsonNode value) {
        String text = value.toString();
        return text.length() <= SHOWN ? text : text.substring(0, SHOWN - 3) + "...";
    }
}
