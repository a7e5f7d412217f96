"""Makes the small model that tests of evaluation and of the launcher run on, and what transformers and PEFT say its scores are.

    python make_fixture.py ../resources/fixture

model/ is a random Llama checkpoint with a byte-level BPE tokenizer that puts <s> before a text, adapter/ a PEFT adapter
with B != 0, data.jsonl prompts and completions, expected.json for each of them the ids and the completion's
log-probability, without and with the adapter. Arithmetic is float32, the softmax float64.
Made with torch 2.13, transformers 5.17, peft 0.21, tokenizers 0.23.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CORPUS = [
    "the team won the match in the last minute", "the new law was passed by the parliament", "Topic: sports politics science",
    "Text: the river is deep and the water is cold", "Antwort: ja oder nein", "are you sure? yes, I am sure. no, I am not.",
]

EXAMPLES = [
    ("Text: the team won the match\nTopic:", " sports"),
    ("Text: the law was passed\nTopic:", " politics"),
    ("Text: the water of the river is cold and deep, and the team was sure of that in the last minute\nTopic:", " science"),
    ("Antwort auf „schön“:", " ja, größer"),
    ("雨", "が降る"),
    ("a", "b"),
    ("no space before", "the completion"),
    ("are you sure?", " yes, I am sure.\nno, I am not."),
]


def tokenizer():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bpe.token_to_id("<s>"))])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


def randomize(parameters, generator, scale):
    with torch.no_grad():
        for name, p in parameters:
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1 + 0.2 * noise if "norm" in name else noise * scale)


def score(model, ids, prompt):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    rows = logits[prompt - 1:-1].log_softmax(-1)
    return rows.gather(1, torch.tensor(ids[prompt:]).unsqueeze(1)).sum().item()


def main(out):
    for name in ("model", "adapter"):
        shutil.rmtree(out / name, ignore_errors=True)
    generator = torch.Generator().manual_seed(7)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=96, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = LlamaForCausalLM(config).float()
    randomize(model.named_parameters(), generator, 0.3)
    model.save_pretrained(out / "model")
    words.save_pretrained(out / "model")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"],
                                               task_type="CAUSAL_LM"))
    randomize([(n, p) for n, p in adapted.named_parameters() if "lora_" in n], generator, 0.2)
    adapted.save_pretrained(out / "adapter")

    base = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(out / "model")
    encoded = [(words.encode(p), words.encode(c, add_special_tokens=False)) for p, c in EXAMPLES]
    without = [score(base, p + c, len(p)) for p, c in encoded]
    adapted = PeftModel.from_pretrained(base, out / "adapter")
    with_adapter = [score(adapted, p + c, len(p)) for p, c in encoded]
    (out / "data.jsonl").write_text(
        "".join(json.dumps({"prompt": p, "completion": c}, ensure_ascii=False) + "\n" for p, c in EXAMPLES))
    (out / "expected.json").write_text(json.dumps(
        [{"prompt": p, "completion": c, "base": b, "adapter": a}
         for (p, c), b, a in zip(encoded, without, with_adapter)]) + "\n")
    (out / "adapter" / "README.md").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
