package io.metalora.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class InputExceptionTest {

    /** What a file holds is shown in messages, and must not break them, or a terminal. */
    @Test
    void itsMessageIsOneLine() {
        assertThat(new InputException("hidden_act is a\nb\u001b[2J, é")).hasMessage("hidden_act is a\\u000ab\\u001b[2J, é");
        assertThat(new InputException("plain", new RuntimeException())).hasMessage("plain");
    }
}
