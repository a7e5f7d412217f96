package io.metalora.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.train.Goldens;
import java.io.IOException;
import java.util.Locale;
import org.junit.jupiter.api.Test;

class ScheduleTest {

    @Test
    void equalsTransformersSchedules() throws IOException {
        JsonNode rows = Goldens.json("schedules.json");
        assertThat(rows).hasSize(15);
        for (JsonNode row : rows) {
            Schedule schedule = Schedule.valueOf(row.get("schedule").textValue().toUpperCase(Locale.ROOT));
            for (int step = 0; step < row.get("factors").size(); step++) {
                assertThat(schedule.factor(step, row.get("warmup").asLong(), row.get("total").asLong()))
                        .as("%s step %d", row, step).isCloseTo(row.get("factors").get(step).doubleValue(), within(1e-12));
            }
        }
    }

    @Test
    void ratioOfWarmupIsRoundedUp() {
        TrainConfig.Optimizer optimizer = TrainConfig.of("optimizer.warmup_ratio=0.06", "optimizer.lr=2").optimizer();

        assertThat(optimizer.warmup(25)).isEqualTo(2);
        assertThat(optimizer.learningRate(1, 25)).isEqualTo(1);
        assertThat(TrainConfig.of("optimizer.warmup_steps=7").optimizer().warmup(25)).isEqualTo(7);
    }
}
