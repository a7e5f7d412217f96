package io.metalora.task;

import java.util.stream.Stream;

/**
 * Which keys of a record, or columns of a table, hold what; null: the one of the same name. Setting one also says which form the
 * records have, of the three: prompt and completion; messages; instruction, input and output.
 *
 * @param prompt      what the model reads
 * @param completion  what it has to say
 * @param messages    the conversation
 * @param instruction of a form with instructions, as Alpaca's
 * @param input       what the instruction is about
 * @param output      the answer to it
 */
public record Columns(String prompt, String completion, String messages, String instruction, String input, String output) {

    /** None set. */
    public static final Columns NONE = new Columns(null, null, null, null, null, null);

    /** Whether columns of prompt and completion are set. */
    boolean ofCompletion() {
        return prompt != null || completion != null;
    }

    /** Whether columns of instruction, input and output are set. */
    boolean ofInstruction() {
        return instruction != null || input != null || output != null;
    }

    /** Whether columns of more than one form are set, so that it does not say which. */
    public boolean contradictory() {
        return Stream.of(ofCompletion(), messages != null, ofInstruction()).filter(set -> set).count() > 1;
    }
}
