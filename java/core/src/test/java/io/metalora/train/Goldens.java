package io.metalora.train;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;

/** What src/test/python/meta_goldens.py made. */
public final class Goldens {

    private Goldens() {
    }

    public static Path path(String name) {
        try {
            return Path.of(Goldens.class.getResource(name).toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    public static JsonNode json(String name) throws IOException {
        return new ObjectMapper().readTree(path(name).toFile());
    }
}
