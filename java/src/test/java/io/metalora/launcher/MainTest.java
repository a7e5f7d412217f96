package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class MainTest {

    @Test
    void helpListsEveryVerb() {
        var result = Cli.run("--help");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("quickstart", "doctor", "train", "eval", "score", "generate");
        assertThat(result.err()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(strings = {"quickstart", "doctor", "train", "eval", "score", "generate"})
    void everyVerbHasHelpWithAnExample(String verb) {
        var result = Cli.run(verb, "--help");
        assertThat(result.code()).isZero();
        assertThat(result.out()).startsWith("Usage: metalora " + verb).contains("Example", "metalora " + verb + " ");
    }

    @Test
    void versionNamesTheProgram() {
        var result = Cli.run("--version");
        assertThat(result.code()).isZero();
        assertThat(result.out()).startsWith("metalora ");
    }

    @Test
    void nothingAskedShowsTheUsageAndIsBadInput() {
        var result = Cli.run();
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("Usage: metalora", "quickstart");
        assertThat(result.out()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
            "tran                                               | error: Unmatched argument at index 0: 'tran'",
            "score --data x                                     | error: Missing required option: '--model=DIR'",
            "eval --model m --tasks t --split validation        | error: Invalid value for option '--split'",
            "generate --model m --prompt p --max-new-tokens ten | error: Invalid value for option '--max-new-tokens'",
            "doctor --device tpu                                | error: Invalid value for option '--device'",
            "doctor --threads -1                                | error: threads is -1",
            "generate --model m --prompt p --top-p 0            | error: --top-p is 0.0",
            "generate --model m --prompt p --temperature -1     | error: --temperature is -1.0",
            "generate --model m --prompt p --max-new-tokens 0   | error: --max-new-tokens is 0",
            "train                                              | error: train needs a configuration",
    })
    void wrongUsageIsBadInput(String line, String message) {
        var result = Cli.run((Object[]) line.split(" "));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(message).doesNotContain("\tat ");
        assertThat(result.out()).isEmpty();
    }

    @Test
    void verbosePrintsTheStackTrace() {
        var result = Cli.run("score", "--model", "nowhere", "--data", "nowhere.jsonl", "--verbose");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("error: nowhere.jsonl", "\tat io.metalora");
    }
}
