package io.metalora.text;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class TokenizerLibraryTest {

    /** An application that downloads with DJL, or takes its GPU variant, goes on doing so. */
    @Test
    void leavesNoSettingOfDjlBehindThatOthersMind() {
        assertThat(TokenizerSupport.check().version()).isNotEmpty();
        assertThat(System.getProperties()).doesNotContainKeys("ai.djl.offline", "RUST_FLAVOR", "RUST_LIBRARY_PATH");
    }
}
