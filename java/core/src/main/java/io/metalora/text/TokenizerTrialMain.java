package io.metalora.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import java.io.DataInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;

/**
 * The process in which a tokenizer is tried: reads from the standard input how many ids it has (int), the characters of its
 * regular expressions (UTF) and its tokenizer.json, uses it on texts that are hard, and ends with 0. If the tokenizers library
 * aborts it, then with another code, and the library's reason on the error stream.
 *
 * <p>Needs no more on its class path than the library and this module.
 */
final class TokenizerTrialMain {

    /** The library refused the file in an orderly way, as it will again. */
    static final int REFUSED = 3;

    /** Less than any thread that is likely to use the tokenizer has. */
    private static final long STACK_BYTES = 512 << 10;
    private static final int CHUNK = 300;
    private static final int LONG = 4000;

    private TokenizerTrialMain() {
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        // Whoever started it may be killed meanwhile, and what it was to find out may take for ever.
        ProcessHandle.current().parent().ifPresent(parent -> parent.onExit().thenRun(() -> Runtime.getRuntime().halt(1)));
        var in = new DataInputStream(System.in);
        int vocabSize = in.readInt();
        String characters = in.readUTF();
        byte[] json = in.readAllBytes();
        var code = new int[] {1}; // what stays where the thread dies of an Error
        var trial = new Thread(null, () -> code[0] = use(json, vocabSize, characters), "trial", STACK_BYTES);
        trial.start();
        trial.join();
        System.exit(code[0]);
    }

    static int use(byte[] json, int vocabSize, String characters) {
        HuggingFaceTokenizer tokenizer;
        try {
            tokenizer = TokenizerLibrary.open(json);
        } catch (IllegalStateException e) {
            System.err.println(e.getMessage());
            return 1;
        } catch (RuntimeException e) {
            return REFUSED;
        }
        try (tokenizer) {
            for (String text : texts(characters)) {
                use(tokenizer, text);
            }
            tokenizer.decode(new long[0], false);
            tokenizer.decode(new long[0], true);
            for (int id = 0; id <= vocabSize; id++) {
                tokenizer.decode(new long[] {id}, false);
            }
            for (int id = 0; id < vocabSize; id += CHUNK) {
                long[] ids = LongStream.range(id, Math.min(vocabSize, id + CHUNK)).toArray();
                use(tokenizer, tokenizer.decode(ids, false));
            }
        }
        return 0;
    }

    /** As {@link TextTokenizer} may. */
    static void use(HuggingFaceTokenizer tokenizer, String text) {
        for (boolean special : new boolean[] {false, true}) {
            long[] ids;
            try {
                ids = tokenizer.encode(text, special, false).getIds();
            } catch (RuntimeException e) {
                return; // an orderly refusal of this text, such as one without an unknown token to stand for it
            }
            tokenizer.decode(ids, false);
            tokenizer.decode(ids, true);
        }
    }

    /** Texts on which tokenizers have failed before: empty, combining, beyond the BMP, and long ones that no pattern ends on. */
    static List<String> texts(String characters) {
        var texts = new ArrayList<>(List.of("", " ", "  ", "\n", "\t\r\n", "a", "a b", "A", "\0", "\u0001x", "x\u0007\u001b[0m",
                "\u00e9", "e\u0301", "\u0301", "a" + "\u0301\u0323\u0489".repeat(30), "\ufb01 \ufdfa \u338f \u212b",
                "\u4e16\u754c\u4f60\u597d", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\u0645\u0631\u062d\u0628\u0627",
                "\u0928\u092e\u0938\u094d\u0924\u0947", "\ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67 \ud83c\udde9\ud83c\uddea \ud83d\udc4d\ud83c\udffd",
                "\ufeffx", "\ufffd", "\ufffe\uffff", "\ue000", "\ud835\udd18", "\udbff\udfff", "\u0130\u0131\u00df\u0149 \u01c5 \u03a3\u03c3\u03c2",
                "\u0085\u2028\u2029\u00a0\u200b\u3000\u2060", "1234567890.12e-5 \u00bd \u0663 \u2167", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
                "don't I'll WE'RE 'S", "<s> </s> <|im_start|>user\n<|im_end|> [CLS] <unk> <0x0A>", "\u2581\u2581a\u2581 \u0120\u0120a \u010a"));
        for (int begin = 0; begin < 0x3000; begin += CHUNK) {
            var text = new StringBuilder();
            for (int c = begin; c < begin + CHUNK; c++) {
                text.append((char) c).append(c % 3 == 0 ? " " : "");
            }
            texts.add(text.toString());
        }
        // A pattern that goes back and forth does so on a long run that ends otherwise.
        var runs = new ArrayList<>(List.of("a", "A", "1", " ", "\n", "_", "'", "\u00e9", "\u4e16", "\u0301", "ab", "a ", "1.", "aA1 ", "\r\n"));
        characters.codePoints().mapToObj(Character::toString).forEach(runs::add);
        for (String run : runs) {
            String text = run.repeat(LONG / run.length());
            texts.add(text);
            texts.add(text + "!");
            texts.add(text + "a");
            texts.add("\0" + text + "\0");
        }
        return texts;
    }
}
