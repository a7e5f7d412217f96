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
        assertThat(result.out()).contains("quickstart", "doctor", "preview", "train", "eval", "score", "generate", "export");
        assertThat(result.err()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(strings = {"quickstart", "doctor", "preview", "train", "eval", "score", "generate", "export"})
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
            "generate --model m --prompt p --max-new-tokens ten | error: Invalid value for option '--max-new-tokens': 'ten' is not a whole number",
            "generate --model m --prompt p --seed 9223372036854775808 | error: Invalid value for option '--seed': '9223372036854775808' is not between",
            "doctor --threads 99999999999                       | '99999999999' is not between -2147483648 and 2147483647",
            "generate --model m --prompt p --temperature nan    | error: Invalid value for option '--temperature': 'nan' is not a number",
            "generate --model m --prompt p --top-p Infinity     | error: Invalid value for option '--top-p': 'Infinity' is not a number",
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

    @ParameterizedTest
    @ValueSource(strings = {"--model", "--adapter", "--tasks", "--data", "--out", "--output", "--resume"})
    void aPathThatIsNoneIsBadInput(String option) {
        String verb = switch (option) {
            case "--tasks" -> "eval";
            case "--output" -> "quickstart";
            case "--resume" -> "train";
            default -> "score";
        };
        for (String path : new String[] {"", "a\0b"}) {
            var result = Cli.run(verb, option, path);
            assertThat(result.code()).as(result.err()).isEqualTo(2);
            assertThat(result.err()).contains(option, path.isEmpty() ? "it is empty" : "can't be the name of a file")
                    .doesNotContain("Exception");
        }
    }

    @Test
    void verbosePrintsTheStackTrace() {
        var result = Cli.run("score", "--model", "nowhere", "--data", "nowhere.jsonl", "--verbose");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("error: nowhere.jsonl", "\tat io.metalora");
    }
}
