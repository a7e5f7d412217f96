package io.metalora.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** PEFT's meaning of target_modules. */
class TargetModulesTest {

    private static ModelConfig model() {
        try {
            return ModelConfig.read(Path.of(TargetModulesTest.class.getResource("/goldens/llama/model").toURI()));
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static List<String> sites(TargetModules targets) {
        return new LoraLayout(model(), new LoraConfig(2, 4, false, 0, targets)).sites().stream().map(LoraLayout.Site::path).toList();
    }

    @Test
    void namesMatchWholePartsOfAPath() {
        assertThat(sites(TargetModules.of("q_proj")))
                .containsExactly("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj");
        assertThat(sites(TargetModules.of("mlp.up_proj"))).containsExactly("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj");
        assertThat(sites(TargetModules.of("model.layers.1.mlp.up_proj"))).containsExactly("model.layers.1.mlp.up_proj");
        assertThatThrownBy(() -> sites(TargetModules.of("proj"))).isInstanceOf(InputException.class)
                .message().contains("proj", "matches no Linear", "model.layers.{0..1}.self_attn.q_proj");
    }

    @Test
    void anExpressionMatchesAWholePath() {
        assertThat(sites(TargetModules.ofString("model\\.layers\\.1\\.self_attn\\.[qk]_proj")))
                .containsExactly("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj");
        assertThat(sites(TargetModules.ofString("(?P<all>.*)\\.o_proj")))
                .containsExactly("model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj");
        assertThatThrownBy(() -> sites(TargetModules.ofString("q_proj"))).isInstanceOf(InputException.class).message().contains("q_proj");
    }

    @Test
    void allLinearIsEveryLinearButTheHead() {
        for (var all : List.of(TargetModules.allLinear(), TargetModules.ofString("All-Linear"), TargetModules.of("all-linear"))) {
            assertThat(all.projections(model())).isEqualTo(EnumSet.allOf(Projection.class));
            assertThat(all.matches("lm_head")).isFalse();
        }
    }

    @Test
    void theHeadTakesNoAdapter() {
        for (var targets : List.of(TargetModules.of("q_proj", "lm_head"), TargetModules.ofString(".*(lm_head|q_proj)"))) {
            assertThatThrownBy(() -> sites(targets)).isInstanceOf(InputException.class).message().contains("lm_head", "takes no adapter");
        }
    }

    @Test
    void everyNameMustMatch() {
        assertThatThrownBy(() -> sites(TargetModules.of("q_proj", "c_attn"))).isInstanceOf(InputException.class)
                .message().contains("c_attn").doesNotContain("target_modules q_proj");
    }

    @ParameterizedTest
    @ValueSource(strings = {"(.*)*(.*)*(.*)*!", "(?=((.+)+)+!)x", "([a-z]|\\w|.)*\\1!"})
    void anExpressionThatGoesBackForEverIsRefused(String expression) {
        assertTimeoutPreemptively(Duration.ofSeconds(10), () -> assertThatThrownBy(() -> TargetModules.ofString(expression))
                .isInstanceOf(InputException.class).message().contains(expression, "takes too long", "[q_proj, v_proj]"));
    }

    @Test
    void anExpressionIsBounded() {
        for (String expression : List.of("((?:){2147483647}){2147483647}", "(((x{100}){100}){100})?", "a".repeat(5000))) {
            assertTimeoutPreemptively(Duration.ofSeconds(10), () -> assertThatThrownBy(() -> TargetModules.ofString(expression))
                    .isInstanceOf(InputException.class).message().contains("is too large").hasSizeLessThan(500));
        }
        assertThatThrownBy(() -> TargetModules.ofString("(".repeat(2000) + ")".repeat(2000) + "x(")).isInstanceOf(InputException.class)
                .message().contains("is not a regular expression").hasSizeLessThan(500);
        assertThat(sites(TargetModules.ofString("(?!.*mlp).*layers\\.\\d{1,3}\\..*\\.(?P<p>[qk])_proj"))).hasSize(4);
    }
}
