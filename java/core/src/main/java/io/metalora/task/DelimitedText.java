package io.metalora.task;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.MappingIterator;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.csv.CsvMapper;
import com.fasterxml.jackson.dataformat.csv.CsvParser;
import com.fasterxml.jackson.dataformat.csv.CsvSchema;
import io.metalora.file.JsonText;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Path;
import java.util.HashSet;

/**
 * Reads a table of text (CSV as in RFC 4180, or with tabs) whose first row names the columns. Quoted values may hold line ends
 * and the separator; a quote within them is doubled.
 */
final class DelimitedText {

    private DelimitedText() {
    }

    static void read(Path file, Reader in, char separator, ExampleFile.Sink sink) throws IOException {
        CsvSchema schema = CsvSchema.emptySchema().withColumnSeparator(separator);
        try (MappingIterator<String[]> rows = new CsvMapper().enable(CsvParser.Feature.WRAP_AS_ARRAY).enable(CsvParser.Feature.SKIP_EMPTY_LINES)
                .readerFor(String[].class).with(schema).readValues(in)) {
            String[] names = null;
            int line = 1;
            while (rows.hasNextValue()) {
                String[] row = rows.nextValue();
                if (names == null) {
                    names = header(file, line, row);
                } else {
                    sink.record(record(file, line, names, row), line);
                }
                line = rows.getCurrentLocation().getLineNr();
            }
        } catch (JsonProcessingException e) {
            throw new InputException(file + JsonText.place(e) + ": malformed table: " + JsonText.problem(e)
                    + "; put values that hold quotes, separators or line ends in quotes, quotes in them doubled", e);
        }
    }

    private static String[] header(Path file, int line, String[] row) {
        var seen = new HashSet<String>();
        for (String name : row) {
            if (!seen.add(name)) {
                throw new InputException(file + ":" + line + ": the first row must name the columns, but names " + Shown.quoted(name) + " twice");
            }
        }
        return row;
    }

    private static ObjectNode record(Path file, int line, String[] names, String[] row) {
        if (row.length != names.length) {
            throw new InputException(file + ":" + line + ": has " + row.length + " values, but the first row names " + names.length
                    + " columns; put values that hold the separator, or line ends, in quotes");
        }
        ObjectNode record = JsonNodeFactory.instance.objectNode();
        for (int i = 0; i < row.length; i++) {
            record.put(names[i], row[i]);
        }
        return record;
    }
}
