package io.metalora.launcher.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AxisTest {

    @ParameterizedTest
    @CsvSource({"0, 3.2, 0, 4, 2", "0.12, 0.98, 0, 1, 0.5", "-1.5, 7, -5, 10, 5", "1, 400, 0, 400, 200", "0, 0.003, 0, 0.003, 0.001"})
    void coversItsValuesBetweenRoundOnes(double low, double high, double from, double to, double step) {
        Axis axis = Axis.covering(low, high, 3);
        assertThat(axis.low()).isCloseTo(from, within(1e-12));
        assertThat(axis.high()).isCloseTo(to, within(1e-12));
        assertThat(axis.step()).isCloseTo(step, within(1e-12));
    }

    @Test
    void oneValueHasAnAxisAroundIt() {
        for (double value : new double[] {0, 5, -2, 1e-9}) {
            Axis axis = Axis.covering(value, value, 3);
            assertThat(axis.fraction(value)).isBetween(0.0, 1.0);
            assertThat(axis.high()).isGreaterThan(axis.low());
        }
    }

    @Test
    void labelsHaveTheDecimalsOfTheStep() {
        assertThat(Axis.covering(0, 0.9, 3).ticks().stream().map(Axis.covering(0, 0.9, 3)::label)).containsExactly("0.0", "0.5", "1.0");
        assertThat(new Axis(-0.5, 0.5, 0.25).label(-0.0)).isEqualTo("0.0");
        assertThat(new Axis(0, 400, 200).label(200)).isEqualTo("200");
    }
}
