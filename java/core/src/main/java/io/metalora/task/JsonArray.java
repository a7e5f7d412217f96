package io.metalora.task;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectReader;
import io.metalora.file.JsonText;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Path;

/** Reads the elements of a JSON array one after the other. */
final class JsonArray {

    /** Of an element, after which others follow. */
    private static final ObjectReader ELEMENT = ExampleFile.JSON.without(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    private JsonArray() {
    }

    static void read(Path file, Reader in, ExampleFile.Sink sink) throws IOException {
        try (JsonParser parser = ExampleFile.JSON.createParser(in)) {
            if (parser.nextToken() != JsonToken.START_ARRAY) {
                throw new InputException(file + ": a .json file must hold an array of examples, or one example a line");
            }
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                int line = parser.currentTokenLocation().getLineNr();
                sink.record(ELEMENT.readTree(parser), line);
            }
            if (parser.nextToken() != null) {
                throw new InputException(file + ":" + parser.currentTokenLocation().getLineNr() + ": more text follows the array of examples");
            }
        } catch (JsonProcessingException e) {
            throw new InputException(file + JsonText.place(e) + ": malformed JSON: " + JsonText.problem(e), e);
        }
    }
}
