"""Makes the golden of io.metalora.train.AsymmetricLora: one A for all tasks and a B of each, trained together, computed the
naive way with PyTorch, transformers and PEFT: one unpacked sequence after the other, through the B of its task. Beside the
losses of every step and the adapters after the last one there are the loss and the gradients at those, of all samples.

    python java/core/src/test/python/asymmetric_goldens.py java/core/src/test/resources/io/metalora/train

The folder holds the model, adapter and episodes of meta_goldens.py. Made with torch 2.13, transformers 5.17, peft 0.21.
"""
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, get_cosine_schedule_with_warmup

SIZES = (5, 4, 2)
BATCH, EPOCHS, SEED = 4, 4, 7
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
EPOCH = 4  # the number of what io.metalora.random.CounterRandom decides with it


def finalizer(z):
    """That of SplitMix64."""
    z &= MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def order(epoch, count):
    """Of all samples in one epoch, as io.metalora.random.CounterRandom draws it."""
    key = finalizer(SEED + GOLDEN)
    key = finalizer(key + EPOCH * GOLDEN)
    key = finalizer(key + (epoch + 1) * GOLDEN)
    key = finalizer(key + 0xCBF29CE484222325)  # FNV-1a of no name
    numbers, counter = list(range(count)), 0
    for i in range(count):
        bound = count - i
        while True:
            counter += 1
            product = (finalizer(key + counter * GOLDEN) >> 32) * bound
            if product & 0xFFFFFFFF >= (1 << 32) % bound:
                break
        j = i + (product >> 32)
        numbers[i], numbers[j] = numbers[j], numbers[i]
    return numbers


def mean_loss(model, a, b, batch):
    """Mean over all completion tokens of the batch."""
    total, count = 0.0, 0
    for slot, sequence in batch:
        ids = torch.tensor([sequence["ids"]])
        start = sequence["prompt_length"]
        parameters = a | {name: of_tasks[slot] for name, of_tasks in b.items()}
        logits = torch.func.functional_call(model, parameters, kwargs={"input_ids": ids}).logits[0, start - 1:-1]
        total = total + torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum")
        count += ids.shape[1] - start
    return total / count


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    first = json.loads((folder / "episodes.json").read_text())[0]
    samples = [(slot, sequence) for slot, (episode, size) in enumerate(zip(first, SIZES))
               for sequence in (episode["support"] + episode["query"])[:size]]
    base = LlamaForCausalLM.from_pretrained(folder / "tiny-llama", dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True).train()
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    a = {name: value.requires_grad_() for name, value in start.items() if ".lora_A." in name}
    # The B of all tasks in one tensor: those of a task that is not in a batch have a gradient, of zeros.
    b = {name: value.repeat(len(SIZES), 1, 1).requires_grad_() for name, value in start.items() if ".lora_B." in name}
    trained = list(a.values()) + list(b.values())

    steps = EPOCHS * -(-len(samples) // BATCH)
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, steps)
    log = []
    for epoch in range(EPOCHS):
        numbers = order(epoch, len(samples))
        for at in range(0, len(numbers), BATCH):
            optimizer.zero_grad()
            loss = mean_loss(model, a, b, [samples[i] for i in numbers[at:at + BATCH]])
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
            log.append({"lr": schedule.get_last_lr()[0], "loss": loss.item(), "gradient_norm": norm.item()})
            optimizer.step()
            schedule.step()

    optimizer.zero_grad()
    loss = mean_loss(model, a, b, samples)
    loss.backward()
    tensors = {}
    for name, value in (a | b).items():
        path = name.removeprefix("base_model.model.").replace(".default", "")
        tensors[path] = value.detach().contiguous()
        tensors["grad." + path] = value.grad.contiguous()
    save_file(tensors, str(folder / "asymmetric.safetensors"), metadata={"format": "pt"})
    (folder / "asymmetric.json").write_text(json.dumps({"steps": log, "loss": loss.item()}) + "\n")
    print([round(step["loss"], 4) for step in log], [round(step["gradient_norm"], 3) for step in log], round(loss.item(), 4))


if __name__ == "__main__":
    main()
