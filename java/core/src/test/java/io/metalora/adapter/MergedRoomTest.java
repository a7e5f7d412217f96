package io.metalora.adapter;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class MergedRoomTest {

    @Test
    void tooLittleIsSaidWithBothNumbers() {
        Path dir = Path.of("merged");
        assertThatThrownBy(() -> MergedCheckpoint.requireRoom(dir, 2_000_000, 1_500_000)).isInstanceOf(InputException.class)
                .hasMessageStartingWith("merged: the merged model takes 2.0 MB, but its disk has 1.5 MB left");
        assertThatCode(() -> MergedCheckpoint.requireRoom(dir, 2_000_000, 2_000_000)).doesNotThrowAnyException();
    }
}
