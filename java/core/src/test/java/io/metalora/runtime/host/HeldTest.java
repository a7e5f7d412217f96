package io.metalora.runtime.host;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class HeldTest {
    private final List<String> closed = new ArrayList<>();
    private final Held held = new Held();
    private boolean failing = true;

    private void close(String name) {
        if (failing && name.startsWith("bad")) {
            throw new IllegalStateException(name);
        }
        closed.add(name);
    }

    @Test
    void oneThatFailsKeepsNoOtherOpenAndIsTriedAgain() {
        for (String name : List.of("a", "bad 1", "b", "bad 2", "c")) {
            held.add(() -> name, this::close);
        }
        assertThatThrownBy(held::close).hasMessage("bad 2")
                .satisfies(e -> assertThat(e.getSuppressed()).extracting(Throwable::getMessage).containsExactly("bad 1"));
        assertThat(closed).containsExactly("c", "b", "a");

        failing = false;
        held.close();
        held.close();
        assertThat(closed).containsExactly("c", "b", "a", "bad 2", "bad 1");
    }

    @Test
    void aConstructorThatFailsLeavesNothingAndItsFailureIsTheOneThrown() {
        held.add(() -> "a", this::close);
        held.add(() -> "bad", this::close);
        var full = new OutOfMemoryError("heap");
        assertThatThrownBy(() -> held.add(() -> {
            throw full;
        }, this::close)).isSameAs(full).satisfies(e -> assertThat(e.getSuppressed()).hasSize(1));
        assertThat(closed).containsExactly("a");
    }
}
