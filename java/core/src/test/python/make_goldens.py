"""Makes the golden files of the whole-model parity tests with PyTorch, transformers and PEFT.

    python make_goldens.py ../resources/goldens [CASE ...]

One folder a case: model/ is a small random checkpoint in the Hugging Face layout, adapter/ a PEFT adapter with B != 0,
case.json the sequences, where their loss begins, the mean loss and a greedy continuation, expected.safetensors the
logits of every token with and without the adapter and the gradient of every adapter tensor. Sequences run one at a
time, so that none can see another; the loss is the mean over all target tokens of all sequences. Reference arithmetic
is float32, whatever the checkpoint's type. Made with torch 2.13, transformers 5.17, peft 0.21. A case with lora_nums is a
mixture, whose adapter/ is as HydraLoRA writes it, but for the pickle: PEFT has no mixtures, so Mixture computes it here.
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
    # Three heads, no multiple of any vector's width. Without v_proj a stack of q, k and v has rows that nothing adapts.
    "qwen3-mixture": (Qwen3Config(**sizes(head_dim=14), rope_parameters=rope("default", 1000000.0)), torch.float32,
                      dict(r=2, lora_alpha=5, lora_nums=3,
                           target_modules=["q_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]), None),
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


class Mixture(torch.nn.Module):
    """A Linear with HydraLoRA's adapter: y = W x + alpha / r * sum_j softmax(R x)_j B_j A x."""

    def __init__(self, base, generator, r, lora_alpha, lora_nums):
        super().__init__()
        self.base, self.scale = base, lora_alpha / r

        def matrix(rows, columns, scale):
            return torch.nn.Parameter(scale * torch.randn(rows, columns, generator=generator))

        self.lora_A = matrix(r, base.in_features, base.in_features**-0.5)
        self.lora_route = matrix(lora_nums, base.in_features, base.in_features**-0.5)
        self.lora_B = torch.nn.ParameterList(matrix(base.out_features, r, 0.3) for _ in range(lora_nums))

    def forward(self, x):
        weights = torch.softmax(x @ self.lora_route.T, dim=-1, dtype=torch.float32)
        h = x @ self.lora_A.T
        return self.base(x) + self.scale * sum(weights[..., j, None] * (h @ b.T) for j, b in enumerate(self.lora_B))


def add_mixture(model, folder, generator, adapter):
    """Puts a Mixture on every target and writes the folder; gives the model and its parameters by the names of their tensors."""
    model.requires_grad_(False)
    targets = [n for n, _ in model.named_modules() if n.rsplit(".", 1)[-1] in adapter["target_modules"]]
    trained = {}
    for name in targets:
        parent, leaf = name.rsplit(".", 1)
        module = Mixture(model.get_submodule(name), generator, adapter["r"], adapter["lora_alpha"], adapter["lora_nums"])
        setattr(model.get_submodule(parent), leaf, module)
        for key, p in module.named_parameters():
            if p.requires_grad:
                trained[f"base_model.model.{name}.{key.replace('lora_B.', 'lora_B')}.weight"] = p
    folder.mkdir()
    save_file({k: p.detach() for k, p in trained.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(adapter | {
        "base_model_name_or_path": "golden", "bias": "none", "enable_lora": None, "fan_in_fan_out": False,
        "inference_mode": True, "lora_dropout": 0.0, "merge_weights": False, "modules_to_save": None, "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
    }, indent=2, sort_keys=True) + "\n")
    return model, trained


def add_lora(model, folder, generator, adapter):
    """The same with PEFT's LoRA."""
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **adapter)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    model.peft_config["default"].base_model_name_or_path = "golden"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return model, {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}


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

    add = add_mixture if "lora_nums" in adapter else add_lora
    model, trained = add(model, folder / "adapter", generator, adapter)
    tensors |= {f"logits.{i}": l for i, l in enumerate(logits(model, sequences))}

    targets = sum(n - f for n, f in zip(LENGTHS, FIRST_TARGETS))
    loss = 0.0
    for s, first in zip(sequences, FIRST_TARGETS):
        rows = model(input_ids=s[None]).logits[0, first - 1:-1]
        part = torch.nn.functional.cross_entropy(rows, s[first:], reduction="sum") / targets
        part.backward()
        loss += part.item()
    tensors |= {"grad." + name: p.grad for name, p in trained.items()}
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "expected.safetensors")

    prompt = sequences[0][:PROMPT_TOKENS].tolist()
    (folder / "case.json").write_text(json.dumps({
        "sequences": [s.tolist() for s in sequences], "first_targets": FIRST_TARGETS, "loss": loss,
        "prompt": prompt, "continuation": greedy(model, prompt),
    }) + "\n")


def main():
    root = Path(sys.argv[1])
    for i, (name, case) in enumerate(CASES.items()):
        if name in sys.argv[2:] or not sys.argv[2:]:
            make(root / name, 100 + i, *case)
            print(name)


if __name__ == "__main__":
    main()
