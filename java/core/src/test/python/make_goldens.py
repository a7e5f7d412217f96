"""Makes the golden files of the whole-model parity tests with PyTorch, transformers and PEFT.

    python make_goldens.py ../resources/goldens

One folder a case: model/ is a small random checkpoint in the Hugging Face layout, adapter/ a PEFT adapter with B != 0,
case.json the sequences, where their loss begins, the mean loss and a greedy continuation, expected.safetensors the
logits of every token with and without the adapter and the gradient of every adapter tensor. Sequences run one at a
time, so that none can see another; the loss is the mean over all target tokens of all sequences. Reference arithmetic
is float32, whatever the checkpoint's type. Made with torch 2.13, transformers 5.17, peft 0.21.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

VOCAB = 71
LENGTHS = [11, 2, 41, 7]
FIRST_TARGETS = [4, 1, 20, 1]
PROMPT_TOKENS = 6
NEW_TOKENS = 14

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def sizes(**changes):
    base = dict(
        vocab_size=VOCAB, hidden_size=48, intermediate_size=76, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        tie_word_embeddings=False,
    )
    return base | changes


def rope(kind, theta=10000.0, **scaling):
    return {"rope_type": kind, "rope_theta": theta} | scaling


# name -> (configuration, checkpoint type, adapter, shard size)
CASES = {
    "llama": (LlamaConfig(**sizes(), rope_parameters=rope("default")), torch.float32,
              dict(r=3, lora_alpha=7, target_modules=SEVEN), None),
    # Only the MLP of the last layer: nothing below it needs a gradient. Biases everywhere.
    "llama3-rope": (LlamaConfig(**sizes(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
                                rope_parameters=rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0,
                                                     high_freq_factor=4.0, original_max_position_embeddings=32)),
                    torch.float32,
                    dict(r=8, lora_alpha=8, use_rslora=True,
                         target_modules=r".*\.layers\.1\.mlp\.(gate|up|down)_proj"), None),
    "llama-linear-sharded": (LlamaConfig(**sizes(num_key_value_heads=4), rope_parameters=rope("linear", factor=4.0)),
                             torch.float32, dict(r=1, lora_alpha=2, target_modules=["o_proj", "down_proj"]), "60KB"),
    "mistral-bf16": (MistralConfig(**sizes(head_dim=20), sliding_window=5, rope_parameters=rope("default")),
                     torch.bfloat16, dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]), None),
    "qwen2-f16": (Qwen2Config(**sizes(tie_word_embeddings=True, num_key_value_heads=1, num_hidden_layers=3),
                              use_sliding_window=True, sliding_window=7, max_window_layers=2,
                              rope_parameters=rope("default", 1000000.0)),
                  torch.float16, dict(r=5, lora_alpha=10, target_modules=["k_proj", "o_proj", "up_proj"]), None),
    "qwen3": (Qwen3Config(**sizes(head_dim=14), rope_parameters=rope("default", 1000000.0)), torch.float32,
              dict(r=2, lora_alpha=3, target_modules="all-linear"), None),
}


def randomize(model, generator):
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.2 * noise)
            elif "embed" in name:
                p.copy_(noise)
            else:
                p.copy_(noise / p.shape[1] ** 0.5)


def logits(model, sequences):
    with torch.no_grad():
        return [model(input_ids=s[None]).logits[0] for s in sequences]


def greedy(model, prompt):
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):]


def make(folder, seed, config, dtype, adapter, shard):
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    randomize(model, generator)
    model = model.to(dtype)
    model.save_pretrained(folder / "model", **({"max_shard_size": shard} if shard else {}))
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)

    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
    sequences = [torch.randint(3, VOCAB, (n,), generator=generator) for n in LENGTHS]
    tensors = {f"base_logits.{i}": l for i, l in enumerate(logits(model, sequences))}

    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **adapter)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    model.peft_config["default"].base_model_name_or_path = "golden"
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    tensors |= {f"logits.{i}": l for i, l in enumerate(logits(model, sequences))}

    targets = sum(n - f for n, f in zip(LENGTHS, FIRST_TARGETS))
    loss = 0.0
    for s, first in zip(sequences, FIRST_TARGETS):
        rows = model(input_ids=s[None]).logits[0, first - 1:-1]
        part = torch.nn.functional.cross_entropy(rows, s[first:], reduction="sum") / targets
        part.backward()
        loss += part.item()
    for name, p in model.named_parameters():
        if p.requires_grad:
            tensors["grad." + name.replace(".default", "")] = p.grad
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "expected.safetensors")

    prompt = sequences[0][:PROMPT_TOKENS].tolist()
    (folder / "case.json").write_text(json.dumps({
        "sequences": [s.tolist() for s in sequences], "first_targets": FIRST_TARGETS, "loss": loss,
        "prompt": prompt, "continuation": greedy(model, prompt),
    }) + "\n")


def main():
    root = Path(sys.argv[1])
    for i, (name, case) in enumerate(CASES.items()):
        make(root / name, 100 + i, *case)
        print(name)


if __name__ == "__main__":
    main()
