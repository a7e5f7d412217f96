package io.metalora.text;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import java.nio.file.Path;

/**
 * What is checked of a tokenizer.json before the tokenizers library sees it. That the library does not end the process on what
 * has passed is TokenizerMutantsTest's.
 */
class TokenizerFuzzTest extends MutatedSeeds {

    @FuzzTest
    void tokenizerFile(byte[] json) {
        Reading.check("tokenizer.json", json, () -> {
            TokenizerFile file = TokenizerFile.of(Path.of("tokenizer.json"), json);
            if (file.vocabSize() < 1) {
                throw new AssertionError("accepted a vocabulary of " + file.vocabSize());
            }
        });
    }
}
