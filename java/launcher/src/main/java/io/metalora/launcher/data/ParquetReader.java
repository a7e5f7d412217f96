package io.metalora.launcher.data;

import dev.hardwood.InputFile;
import dev.hardwood.reader.ParquetFileReader;
import dev.hardwood.reader.RowReader;
import dev.hardwood.row.PqList;
import dev.hardwood.row.PqStruct;
import dev.hardwood.row.StructAccessor;
import io.metalora.runtime.InputException;
import io.metalora.task.TableReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** Reads Parquet, uncompressed or compressed with Snappy or gzip. */
public final class ParquetReader implements TableReader {

    private static final byte[] MAGIC = "PAR1".getBytes(StandardCharsets.US_ASCII);

    @Override
    public String extension() {
        return "parquet";
    }

    @Override
    public void read(Path file, Consumer<Map<String, Object>> rows) throws IOException {
        requireParquet(file);
        try (var reader = ParquetFileReader.open(InputFile.of(file)); RowReader row = reader.rowReader()) {
            while (row.hasNext()) {
                row.next();
                rows.accept(struct(row));
            }
        } catch (InputException e) {
            throw e;
        } catch (RuntimeException | LinkageError | IOException e) { // the library has many kinds for a damaged file
            throw damaged(file, e);
        }
    }

    private static void requireParquet(Path file) throws IOException {
        byte[] start;
        try (var in = Files.newInputStream(file)) {
            start = in.readNBytes(MAGIC.length);
        }
        if (!Arrays.equals(start, MAGIC)) {
            throw new InputException(file + " is not a Parquet file, which begins with PAR1; fetch it again, or name it for what it is, as train.jsonl");
        }
    }

    private static InputException damaged(Path file, Throwable e) {
        return new InputException(file + ": is damaged, or Parquet of a kind that is not supported (it may be uncompressed, or compressed with Snappy or "
                + "gzip): " + e.getMessage() + "; write it again, or convert it to JSON Lines", e);
    }

    private static Map<String, Object> struct(StructAccessor struct) {
        var values = new LinkedHashMap<String, Object>();
        for (int i = 0; i < struct.getFieldCount(); i++) {
            String name = struct.getFieldName(i);
            values.put(name, struct.isNull(name) ? null : value(struct.getValue(name)));
        }
        return values;
    }

    private static Object value(Object value) {
        return switch (value) {
            case PqStruct struct -> struct(struct);
            case PqList list -> list(list);
            case byte[] bytes -> new String(bytes, StandardCharsets.UTF_8);
            case null -> null;
            case Number number -> number;
            case Boolean bool -> bool;
            default -> value.toString();
        };
    }

    private static List<Object> list(PqList list) {
        var values = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            values.add(list.isNull(i) ? null : value(list.get(i)));
        }
        return values;
    }
}
