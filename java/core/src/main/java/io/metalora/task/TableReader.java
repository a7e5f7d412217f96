package io.metalora.task;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.ServiceLoader;
import java.util.function.Consumer;

/**
 * Reads files of rows in a form that the core has no library for. A service ({@link ServiceLoader}): the launcher provides one for
 * Parquet.
 */
public interface TableReader {

    /** Of the names of such files, without the dot. */
    String extension();

    /**
     * Passes each row on, in order: column to value, which is a text, a number, a boolean, null, or a list or map of such.
     *
     * @throws io.metalora.runtime.InputException if the file is damaged, or not of this form
     * @throws IOException                        if it can't be read
     */
    void read(Path file, Consumer<Map<String, Object>> rows) throws IOException;

    /** The provider for {@code extension} on the class or module path; empty where there is none. */
    static Optional<TableReader> find(String extension) {
        return ServiceLoader.load(TableReader.class, TableReader.class.getClassLoader()).stream().map(ServiceLoader.Provider::get)
                .filter(reader -> reader.extension().equals(extension)).findFirst();
    }
}
