package io.metalora.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What a run has taken, whether or not it was stopped in between, by its metrics.
 *
 * @param iterations done
 * @param tokens     that went forward and backward through the model
 * @param seconds    of all iterations
 */
public record RunCost(long iterations, long tokens, double seconds) {

    /** @throws InputException if the run's metrics can't be read */
    public static RunCost of(RunFolder run) {
        Path file = run.metrics();
        long iterations = 0;
        long tokens = 0;
        double seconds = 0;
        var json = new ObjectMapper();
        try (var lines = Files.newBufferedReader(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                JsonNode metrics = json.readTree(line);
                iterations++;
                tokens += metrics.path("tokens").asLong();
                seconds += metrics.path("seconds").asDouble();
            }
        } catch (IOException e) {
            throw new InputException(file + ": line " + (iterations + 1) + " can't be read; remove the run's folder, and it begins anew", e);
        }
        return new RunCost(iterations, tokens, seconds);
    }
}
