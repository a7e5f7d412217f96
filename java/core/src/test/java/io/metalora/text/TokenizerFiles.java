package io.metalora.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

/** Small tokenizer.json files of all kinds. */
final class TokenizerFiles {

    private static final ObjectMapper JSON = new ObjectMapper();

    private TokenizerFiles() {
    }

    static ObjectNode parse(String json) {
        try {
            return (ObjectNode) JSON.readTree(json.replace('\'', '"'));
        } catch (JsonProcessingException e) {
            throw new AssertionError(e);
        }
    }

    static byte[] bytes(ObjectNode json) {
        return json.toString().getBytes(StandardCharsets.UTF_8);
    }

    /** BPE on bytes, as GPT-2 and Llama 3 have it. */
    static ObjectNode byteLevel() {
        ObjectNode json = common("""
                {'type': 'BPE', 'dropout': null, 'unk_token': null, 'byte_fallback': false, 'vocab': {'<s>': 0, '</s>': 1}, 'merges': ['h e', 'l l']}""");
        var vocab = (ObjectNode) json.at("/model/vocab");
        for (int c = 33, next = 0; c < 256; c++) { // the characters that stand for bytes
            if (c < 127 || c > 160 && c != 173) {
                vocab.put(Character.toString(c), vocab.size());
            } else {
                vocab.put(Character.toString(256 + 33 + next++), vocab.size());
            }
        }
        for (int c = 256; c < 256 + 33; c++) {
            vocab.put(Character.toString(c), vocab.size());
        }
        vocab.put("he", vocab.size()).put("ll", vocab.size());
        json.set("pre_tokenizer", parse("""
                {'type': 'Sequence', 'pretokenizers': [
                 {'type': 'Split', 'pattern': {'Regex': ' ?\\\\p{L}+| ?\\\\p{N}|\\\\s+'}, 'behavior': 'Isolated', 'invert': false},
                 {'type': 'ByteLevel', 'add_prefix_space': false, 'trim_offsets': true, 'use_regex': false}]}"""));
        json.set("decoder", parse("{'type': 'ByteLevel', 'add_prefix_space': true, 'trim_offsets': true, 'use_regex': true}"));
        return json;
    }

    /** BPE with bytes for what it does not know, as Llama 2 has it. */
    static ObjectNode byteFallback() {
        ObjectNode json = common("""
                {'type': 'BPE', 'unk_token': '<unk>', 'fuse_unk': true, 'byte_fallback': true,
                 'vocab': {'<s>': 0, '</s>': 1, '<unk>': 2, '\u2581': 3, 'a': 4, 'b': 5, '\u2581a': 6}, 'merges': [['\u2581', 'a']]}""");
        var vocab = (ObjectNode) json.at("/model/vocab");
        for (int b = 0; b < 256; b++) {
            vocab.put("<0x%02X>".formatted(b), vocab.size());
        }
        json.set("normalizer", parse("""
                {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '\u2581'},
                 {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\u2581'}]}"""));
        json.set("decoder", parse("""
                {'type': 'Sequence', 'decoders': [{'type': 'Replace', 'pattern': {'String': '\u2581'}, 'content': ' '},
                 {'type': 'ByteFallback'}, {'type': 'Fuse'}, {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]}"""));
        return json;
    }

    /** Unigram behind a character map, as SentencePiece makes it. */
    static ObjectNode unigram() {
        ObjectNode json = common("""
                {'type': 'Unigram', 'unk_id': 2, 'byte_fallback': false,
                 'vocab': [['<s>', 0.0], ['</s>', 0.0], ['<unk>', 0.0], ['\u2581', -1.5], ['a', -2.0], ['\u2581a', -1.0], ['he', -3.0]]}""");
        json.set("normalizer", parse("{'type': 'Precompiled', 'precompiled_charsmap': '" + charsmap() + "'}"));
        json.set("pre_tokenizer", parse("{'type': 'Metaspace', 'replacement': '\u2581', 'prepend_scheme': 'always', 'split': true}"));
        json.set("decoder", parse("{'type': 'Metaspace', 'replacement': '\u2581', 'prepend_scheme': 'always', 'split': true}"));
        return json;
    }

    static ObjectNode wordPiece() {
        ObjectNode json = common("""
                {'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##', 'max_input_chars_per_word': 100,
                 'vocab': {'<s>': 0, '</s>': 1, '[UNK]': 2, 'a': 3, '##a': 4, 'he': 5, '##llo': 6}}""");
        json.set("normalizer", parse("""
                {'type': 'BertNormalizer', 'clean_text': true, 'handle_chinese_chars': true, 'strip_accents': null, 'lowercase': true}"""));
        json.set("pre_tokenizer", parse("{'type': 'BertPreTokenizer'}"));
        json.set("decoder", parse("{'type': 'WordPiece', 'prefix': '##', 'cleanup': true}"));
        return json;
    }

    private static ObjectNode common(String model) {
        ObjectNode json = parse("""
                {'version': '1.0', 'truncation': null, 'padding': null,
                 'added_tokens': [{'id': 0, 'content': '<s>', 'single_word': false, 'lstrip': false, 'rstrip': false, 'normalized': false, 'special': true}],
                 'normalizer': null, 'pre_tokenizer': null,
                 'post_processor': {'type': 'TemplateProcessing',
                  'single': [{'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}],
                  'pair': [{'Sequence': {'id': 'A', 'type_id': 0}}, {'Sequence': {'id': 'B', 'type_id': 1}}],
                  'special_tokens': {'<s>': {'id': '<s>', 'ids': [0], 'tokens': ['<s>']}}}}""");
        json.set("model", parse(model));
        return json;
    }

    static String charsmap() {
        return Base64.getEncoder().encodeToString(charsmapBytes());
    }

    /** A map of "A" to "a" and of U+0001 to nothing. */
    static byte[] charsmapBytes() {
        int[] units = new int[1024];
        byte[] replacements = "a\0\0".getBytes(StandardCharsets.UTF_8);
        int root = 256;
        units[0] = root << 10;
        leaf(units, root ^ 'A', 512, 0);
        leaf(units, root ^ 1, 768, 2);
        var out = ByteBuffer.allocate(Integer.BYTES * (1 + units.length) + replacements.length).order(ByteOrder.LITTLE_ENDIAN);
        out.putInt(units.length * Integer.BYTES);
        for (int unit : units) {
            out.putInt(unit);
        }
        return out.put(replacements).array();
    }

    private static void leaf(int[] units, int at, int child, int replacement) {
        units[at] = (at ^ child) << 10 | 1 << 8 | at & 0xff;
        units[child] = replacement | 1 << 31;
    }
}
