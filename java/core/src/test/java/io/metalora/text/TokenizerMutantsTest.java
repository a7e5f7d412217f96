package io.metalora.text;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Damaged tokenizer.json files: what passes the check and the trial never ends the process at another text. The files are used
 * in processes of their own; {@code -Dmetalora.mutants=N} tries more of them, {@code -Dmetalora.mutants.seed=S} others.
 */
class TokenizerMutantsTest {

    private static final int COUNT = Integer.getInteger("metalora.mutants", 40);
    private static final long SEED = Long.getLong("metalora.mutants.seed", 1);

    private static final Map<String, List<String>> COMPONENTS = Map.of(
            "normalizer", List.of(
                    "{'type': 'BertNormalizer', 'clean_text': true, 'handle_chinese_chars': true, 'strip_accents': true, 'lowercase': false}",
                    "{'type': 'Strip', 'strip_left': true, 'strip_right': true}", "{'type': 'StripAccents'}", "{'type': 'NFC'}",
                    "{'type': 'NFKD'}", "{'type': 'Lowercase'}", "{'type': 'Nmt'}", "{'type': 'ByteLevel'}",
                    "{'type': 'Replace', 'pattern': {'Regex': 'a*'}, 'content': 'b'}",
                    "{'type': 'Replace', 'pattern': {'String': 'a'}, 'content': ''}", "{'type': 'Prepend', 'prepend': 'a'}"),
            "pre_tokenizer", List.of(
                    "{'type': 'Split', 'pattern': {'Regex': '(a+)+$'}, 'behavior': 'Removed', 'invert': true}",
                    "{'type': 'Split', 'pattern': {'String': ''}, 'behavior': 'MergedWithNext', 'invert': false}",
                    "{'type': 'Punctuation', 'behavior': 'Contiguous'}", "{'type': 'Digits', 'individual_digits': true}",
                    "{'type': 'UnicodeScripts'}", "{'type': 'FixedLength', 'length': 3}", "{'type': 'CharDelimiterSplit', 'delimiter': 'a'}",
                    "{'type': 'WhitespaceSplit'}", "{'type': 'Metaspace', 'replacement': 'a', 'prepend_scheme': 'first', 'split': false}"),
            "decoder", List.of("{'type': 'BPEDecoder', 'suffix': ''}", "{'type': 'Fuse'}", "{'type': 'ByteFallback'}",
                    "{'type': 'CTC', 'pad_token': '', 'word_delimiter_token': 'a', 'cleanup': true}",
                    "{'type': 'Strip', 'content': 'a', 'start': 2, 'stop': 1}", "{'type': 'Strip', 'content': 'a', 'start': 9, 'stop': 0}",
                    "{'type': 'WordPiece', 'prefix': '', 'cleanup': true}",
                    "{'type': 'Replace', 'pattern': {'Regex': ''}, 'content': 'b'}"),
            "post_processor", List.of("{'type': 'BertProcessing', 'sep': ['a', 1], 'cls': ['b', 2]}",
                    "{'type': 'RobertaProcessing', 'sep': ['a', 1], 'cls': ['b', 2], 'trim_offsets': true, 'add_prefix_space': true}",
                    "{'type': 'ByteLevel', 'add_prefix_space': true, 'trim_offsets': true, 'use_regex': true}",
                    "{'type': 'Sequence', 'processors': []}"));
    private static final String ADDED_TOKEN = "{'id': 3, 'content': '%s', 'single_word': false, 'lstrip': true, 'rstrip': true,"
            + " 'normalized': true, 'special': false}";
    private static final List<String> TEXTS = List.of("", "a", " ", "\u2581", "\u00e9", "\u0301", "##", "<s>", "B", "(.*)*y");
    private static final long[] NUMBERS = {0, 1, -1, 2, 255, 65535, Integer.MAX_VALUE, (1L << 32) - 1, 1L << 32, Long.MAX_VALUE};

    @TempDir
    private Path folder;

    @Test
    void whatPassesDoesNotEndTheProcessLater() throws IOException, InterruptedException {
        for (int i = 0; i < COUNT; i++) {
            Files.write(folder.resolve(i + ".json"), TokenizerFiles.bytes(mutant(new Random(SEED + i))));
        }
        int next = 0;
        int used = 0;
        while (next < COUNT) {
            Path log = folder.resolve("log");
            Process process = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-XX:+ErrorFileToStderr", "-cp",
                    System.getProperty("java.class.path"), TokenizerMutantsTest.class.getName(), folder.toString(), Integer.toString(next))
                    .redirectErrorStream(true).redirectOutput(log.toFile()).start();
            assertThat(process.waitFor(10, TimeUnit.MINUTES)).isTrue();
            List<String> lines = Files.readAllLines(log);
            used += (int) lines.stream().filter(line -> line.startsWith("used ")).count();
            if (process.exitValue() == 0) {
                break;
            }
            String last = lines.stream().filter(line -> line.matches("(trial|using|used) \\d+")).reduce((a, b) -> b).orElseThrow();
            assertThat(last).as("after " + String.join("\n", lines)).startsWith("trial "); // a trial may end; that is its purpose
            next = Integer.parseInt(last.substring(6)) + 1;
        }
        assertThat(used).as("files that passed").isGreaterThan(COUNT / 10);
    }

    private static ObjectNode mutant(Random random) {
        ObjectNode json = switch (random.nextInt(4)) {
            case 0 -> TokenizerFiles.byteLevel();
            case 1 -> TokenizerFiles.byteFallback();
            case 2 -> TokenizerFiles.unigram();
            default -> TokenizerFiles.wordPiece();
        };
        for (int i = 1 + random.nextInt(2); i > 0; i--) {
            damage(json, random);
        }
        return json;
    }

    private static void damage(ObjectNode json, Random random) {
        if (random.nextInt(4) > 0) {
            String part = List.of("normalizer", "pre_tokenizer", "decoder", "post_processor", "added_tokens").get(random.nextInt(5));
            if (part.equals("added_tokens")) {
                json.withArray(part).add(TokenizerFiles.parse(ADDED_TOKEN.formatted(TEXTS.get(random.nextInt(TEXTS.size())))));
            } else {
                List<String> components = COMPONENTS.get(part);
                json.set(part, TokenizerFiles.parse(components.get(random.nextInt(components.size()))));
            }
            return;
        }
        var places = new ArrayList<JsonNode>();
        collect(json, places);
        JsonNode place = places.get(random.nextInt(places.size()));
        JsonNode value = switch (random.nextInt(5)) {
            case 0 -> JsonNodeFactory.instance.nullNode();
            case 1 -> JsonNodeFactory.instance.textNode(TEXTS.get(random.nextInt(TEXTS.size())));
            case 2 -> JsonNodeFactory.instance.numberNode(NUMBERS[random.nextInt(NUMBERS.length)]);
            case 3 -> places.get(random.nextInt(places.size())).deepCopy();
            default -> null;
        };
        if (place instanceof ArrayNode array && !array.isEmpty()) {
            int at = random.nextInt(array.size());
            if (value == null) {
                array.remove(at);
            } else {
                array.set(at, value);
            }
        } else if (place instanceof ObjectNode object && !object.isEmpty()) {
            String key = new ArrayList<>(object.properties()).get(random.nextInt(object.size())).getKey();
            if (value == null) {
                object.remove(key);
            } else {
                object.set(key, value);
            }
        }
    }

    private static void collect(JsonNode node, List<JsonNode> into) {
        if (node.isContainerNode()) {
            into.add(node);
            for (JsonNode child : node) {
                collect(child, into);
            }
        }
    }

    /** Uses the files of a folder from a number on: says which, ends with 0 after the last. */
    public static void main(String[] args) throws IOException, InterruptedException {
        var thread = new Thread(null, () -> useAll(Path.of(args[0]), Integer.parseInt(args[1])), "mutants", 512 << 10);
        thread.start();
        thread.join();
    }

    private static void useAll(Path folder, int from) {
        for (int i = from; Files.exists(folder.resolve(i + ".json")); i++) {
            TokenizerFile file;
            try {
                file = TokenizerFile.of(folder.resolve(i + ".json"), Files.readAllBytes(folder.resolve(i + ".json")));
            } catch (InputException e) {
                continue;
            } catch (IOException e) {
                throw new AssertionError(e);
            }
            System.out.println("trial " + i);
            if (TokenizerTrialMain.use(file.json(), Math.min(file.vocabSize(), 2000), file.patternCharacters()) != 0) {
                continue;
            }
            System.out.println("using " + i);
            var random = new Random(i);
            try (var tokenizer = TokenizerLibrary.open(file.json())) {
                for (int j = 0; j < 200; j++) {
                    TokenizerTrialMain.use(tokenizer, text(random));
                    tokenizer.decode(random.longs(random.nextInt(20), 0, file.vocabSize() + 5L).toArray(), random.nextBoolean());
                }
            }
            System.out.println("used " + i);
        }
    }

    private static String text(Random random) {
        var text = new StringBuilder();
        for (int i = random.nextInt(40); i > 0; i--) {
            int c = switch (random.nextInt(6)) {
                case 0 -> random.nextInt(0xd800);
                case 1 -> 0xe000 + random.nextInt(0x102000);
                case 2 -> random.nextInt(32);
                default -> 32 + random.nextInt(95);
            };
            text.append(Character.toString(c).repeat(random.nextInt(8) == 0 ? random.nextInt(300) : 1));
        }
        return text.toString();
    }
}
