package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.io.ModelConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Room for adapters beside the Linears of a model. */
class LoadOptionsTest {
    @ParameterizedTest
    @CsvSource({"8,1,64,true", "16,4,64,true", "16,5,128,true", "17,8,192,true", "64,4,256,true", "64,5,64,false", "8,100000000,64,false"})
    void roomFollowsRankAndSlots(int rank, int slots, int columns, boolean fits) {
        var model = ModelConfig.read(Golden.read("llama").model());
        var adapter = new LoraLayout(model, new LoraConfig(rank, 16, false, 0, TargetModules.allLinear()));
        var options = new LoadOptions(WeightStorage.BF16).withRoomFor(adapter, slots);
        assertThat(options).isEqualTo(new LoadOptions(WeightStorage.BF16, columns));
        assertThat(options.hasRoomFor(adapter, slots)).isEqualTo(fits);
    }

    @Test
    void thereIsRoomForFourOfRank16() {
        assertThat(LoadOptions.defaults()).isEqualTo(new LoadOptions(WeightStorage.AUTO, 64));
        assertThatThrownBy(() -> new LoadOptions(WeightStorage.AUTO, 0)).isInstanceOf(IllegalArgumentException.class);
    }

    /** Forward the columns of all B, backward those of A and the router; each rounded up to 8 for every slot. */
    @ParameterizedTest
    @CsvSource({"4, 4, 4, 64", "3, 3, 4, 64", "9, 2, 4, 128", "1, 20, 3, 128", "32, 1, 1, 64", "33, 2, 1, 128"})
    void roomForMixtures(int rank, int heads, int slots, int columns) {
        var model = ModelConfig.read(Golden.read("llama").model());
        var mixture = new MixtureLayout(model, new LoraConfig(rank, 16, false, 0, TargetModules.allLinear()), heads);
        assertThat(LoadOptions.defaults().withRoomFor(mixture, slots).adapterColumns()).isEqualTo(columns);
    }
}
