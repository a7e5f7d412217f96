"""Makes the goldens of io.metalora.train: a small random Llama with a byte-level tokenizer, fixed episodes, and what
MeTA-LoRA comes to on them after five iterations, computed the naive way with PyTorch, transformers and PEFT: a model with
one adapter, one task after the other, one unpacked sequence after the other.

    python java/core/src/test/python/meta_goldens.py java/core/src/test/resources/io/metalora/train

Made with torch 2.13, transformers 5.17, peft 0.21, tokenizers 0.22.
"""
import json
import random
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (LlamaConfig, LlamaForCausalLM, get_constant_schedule_with_warmup,
                          get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup)

BOS, EOS, VOCAB = 256, 257, 264
ITERATIONS, TASKS, PER_ITERATION, SUPPORT, QUERY = 5, 4, 3, 3, 2


def write_model(folder):
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
                         tie_word_embeddings=True, bos_token_id=BOS, eos_token_id=EOS, initializer_range=0.15,
                         attn_implementation="eager")
    model = LlamaForCausalLM(config).float().eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.7, 1.3)
    model.save_pretrained(folder)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: i for i, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    assert tokenizer.encode("a").ids == [BOS, vocab["a"]]
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    return model


def write_episodes(file):
    """Sequences of unequal length; a task has a bias of its own so that the tasks differ."""
    rng = random.Random(2)

    def sequence(task):
        prompt, completion = rng.randint(1, 9), rng.randint(1, 5)
        ids = [BOS] + [rng.randrange(64 * task, 64 * task + 64) for _ in range(prompt - 1 + completion)]
        return {"ids": ids + [EOS], "prompt_length": prompt}

    iterations = []
    for _ in range(ITERATIONS):
        tasks = rng.sample(range(TASKS), PER_ITERATION)
        iterations.append([{"task": f"task{t}", "support": [sequence(t) for _ in range(SUPPORT)],
                            "query": [sequence(t) for _ in range(QUERY)]} for t in tasks])
    file.write_text(json.dumps(iterations) + "\n")
    return iterations


def mean_loss(model, sequences):
    """Mean over all completion tokens of all sequences, each sequence a batch of its own."""
    total, count = 0.0, 0
    for sequence in sequences:
        ids = torch.tensor([sequence["ids"]])
        start = sequence["prompt_length"]
        logits = model(input_ids=ids).logits[0, start - 1:-1]
        total = total + torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum")
        count += ids.shape[1] - start
    return total / count


def exact_gradient(model, shared, episode, inner_lr, steps):
    """The gradient of the query loss at the adapted parameters by the parameters before, through the inner steps of SGD."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    start = [p.detach().clone().requires_grad_() for p in shared]
    current = start

    def loss(values, sequences):
        def call(**kwargs):
            return torch.func.functional_call(model, dict(zip(names, values)), kwargs=kwargs)
        return mean_loss(call, sequences)

    for _ in range(steps):
        gradients = torch.autograd.grad(loss(current, episode["support"]), current, create_graph=True)
        current = [value - inner_lr * gradient for value, gradient in zip(current, gradients)]
    return torch.autograd.grad(loss(current, episode["query"]), start)


def meta_lora(base_folder, adapter_folder, iterations, inner, inner_lr, inner_clip, steps, out, exact=False):
    torch.manual_seed(3)
    base = LlamaForCausalLM.from_pretrained(base_folder, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
                                            target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]))
    model.train()
    shared = [p for p in model.parameters() if p.requires_grad]
    for parameter in shared:  # B is not zero, so that every gradient counts from the first step on
        parameter.data.normal_(0, 0.1)
    if not (adapter_folder / "adapter_model.safetensors").exists():
        model.save_pretrained(adapter_folder)
        (adapter_folder / "README.md").unlink(missing_ok=True)
        # The folder must not name the machine it was made on.
        config = json.loads((adapter_folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "tiny-llama"
        (adapter_folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")

    outer = torch.optim.AdamW(shared, lr=1e-2, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(outer, 1, 8)
    log = []
    for batch in iterations:
        theta = [p.detach().clone() for p in shared]
        gradients, tasks = [], []
        for episode in batch:
            for parameter, value in zip(shared, theta):
                parameter.data.copy_(value)
            optimizer = (torch.optim.SGD(shared, lr=inner_lr) if inner == "sgd"
                         else torch.optim.AdamW(shared, lr=inner_lr, weight_decay=0.0))
            support_losses = []
            for _ in range(steps):
                optimizer.zero_grad()
                loss = mean_loss(model, episode["support"])
                loss.backward()
                support_losses.append(loss.item())
                if inner_clip > 0:
                    torch.nn.utils.clip_grad_norm_(shared, inner_clip)
                optimizer.step()
            with torch.no_grad():
                adapted = mean_loss(model, episode["support"]).item()
            model.zero_grad()
            query = mean_loss(model, episode["query"])
            query.backward()
            gradients.append([p.grad.detach().clone() for p in shared])
            if exact:
                for parameter, value in zip(shared, theta):
                    parameter.data.copy_(value)
                gradients[-1] = [g.detach().clone() for g in exact_gradient(model, shared, episode, inner_lr, steps)]
            tasks.append({"task": episode["task"], "support_loss": support_losses, "adapted_loss": adapted,
                          "query_loss": query.item()})
        for i, parameter in enumerate(shared):
            parameter.data.copy_(theta[i])
            parameter.grad = sum(g[i] for g in gradients) / len(gradients)
        flat = [torch.cat([t.flatten() for t in g]).double() for g in gradients]
        cosines = [[torch.nn.functional.cosine_similarity(a, b, dim=0).item() for b in flat] for a in flat]
        norm = torch.nn.utils.clip_grad_norm_(shared, 1.0).item()
        log.append({"lr": schedule.get_last_lr()[0], "gradient_norm": norm, "gradient_cosines": cosines, "tasks": tasks})
        outer.step()
        schedule.step()
    state = {k: v.detach().clone().contiguous() for k, v in get_peft_model_state_dict(model).items()}
    save_file(state, str(out.with_suffix(".safetensors")), metadata={"format": "pt"})
    out.with_suffix(".json").write_text(json.dumps(log) + "\n")
    print(out.name, [round(sum(t["query_loss"] for t in entry["tasks"]) / len(entry["tasks"]), 4) for entry in log])


def schedules(file):
    makers = {"constant": lambda o, w, t: get_constant_schedule_with_warmup(o, w),
              "linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}
    rows = []
    for name, maker in makers.items():
        for warmup, total in ((0, 1), (0, 7), (3, 10), (5, 5), (1, 2)):
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            schedule = maker(optimizer, warmup, total)
            factors = []
            for _ in range(total):
                factors.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            rows.append({"schedule": name, "warmup": warmup, "total": total, "factors": factors})
    file.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base, adapter = folder / "tiny-llama", folder / "adapter"
    write_model(base)
    iterations = write_episodes(folder / "episodes.json")
    meta_lora(base, adapter, iterations, "sgd", 0.05, 0.0, 3, folder / "meta-sgd")
    meta_lora(base, adapter, iterations, "sgd", 0.05, 0.5, 2, folder / "meta-sgd-clip")
    meta_lora(base, adapter, iterations, "adamw", 0.01, 0.0, 3, folder / "meta-adamw")
    meta_lora(base, adapter, iterations, "sgd", 0.0, 0.0, 0, folder / "meta-k0")
    meta_lora(base, adapter, iterations, "sgd", 0.2, 0.0, 3, folder / "meta-exact", exact=True)
    schedules(folder / "schedules.json")


if __name__ == "__main__":
    main()
