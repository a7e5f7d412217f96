package io.metalora.task;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads a file of examples: JSON Lines in UTF-8, each line an object with the strings {@code prompt} and
 * {@code completion}. Other keys are ignored, empty lines skipped.
 */
public final class ExampleFile {

    private static final ObjectReader READER = reader();

    private ExampleFile() {
    }

    private static ObjectReader reader() {
        ObjectMapper mapper = JsonMapper.builder()
                .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .build();
        return mapper.readerFor(JsonNode.class);
    }

    /**
     * All examples of the file, in its order.
     *
     * @throws InputException if the file is missing or empty, or a line is not UTF-8, is malformed, lacks a key or has an
     *                        empty completion; the message begins with {@code file:line}
     */
    public static List<Example> read(Path file) {
        byte[] bytes;
        try {
            if (!Files.isRegularFile(file)) {
                throw new InputException(file + ": no such file; expected lines of {\"prompt\": ..., \"completion\": ...}");
            }
            bytes = Files.readAllBytes(file);
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + e.getMessage());
        }
        var examples = new ArrayList<Example>();
        int line = 0;
        for (int start = 0; start < bytes.length; ) {
            int end = start;
            while (end < bytes.length && bytes[end] != '\n') {
                end++;
            }
            line++;
            String text = decode(bytes, start, end, file + ":" + line);
            if (!text.isBlank()) {
                examples.add(parse(text, file + ":" + line));
            }
            start = end + 1;
        }
        if (examples.isEmpty()) {
            throw new InputException(file + ": holds no examples; remove the file or give it lines of "
                    + "{\"prompt\": ..., \"completion\": ...}");
        }
        return examples;
    }

    private static String decode(byte[] bytes, int start, int end, String source) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes, start, end - start)).toString();
        } catch (CharacterCodingException e) {
            throw new InputException(source + ": not UTF-8; convert the file to UTF-8");
        }
    }

    private static Example parse(String text, String source) {
        JsonNode node;
        try {
            node = READER.readTree(text);
        } catch (JsonProcessingException e) {
            long column = e.getLocation() == null ? 1 : e.getLocation().getColumnNr();
            throw new InputException(source + ": malformed JSON at column " + column + ": " + e.getOriginalMessage());
        }
        if (!node.isObject()) {
            throw new InputException(source + ": a line must be a JSON object with prompt and completion, not "
                    + node.getNodeType().name().toLowerCase(java.util.Locale.ROOT));
        }
        String prompt = text(node, "prompt", source);
        String completion = text(node, "completion", source);
        if (completion.isEmpty()) {
            throw new InputException(source + ": the completion is empty, so there is nothing to learn or to score; "
                    + "remove the line or give it a completion");
        }
        return new Example(prompt, completion, source);
    }

    private static String text(JsonNode node, String key, String source) {
        JsonNode value = node.get(key);
        if (value == null) {
            throw new InputException(source + ": the key \"" + key + "\" is missing; a line needs \"prompt\" and \"completion\"");
        }
        if (!value.isTextual()) {
            throw new InputException(source + ": \"" + key + "\" must be a string, but is " + value);
        }
        return value.textValue();
    }
}
