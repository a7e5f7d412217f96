"""The PyTorch + transformers + PEFT side of a comparison: a worker that repeats one workload on request.

Started by compare.py. Reads one line from standard input per repetition ("run"), does the work once, and answers with
one JSON object a line: {"seconds", "tokens", "loss" or "ids"}; "quit" ends it with {"peak_rss"}. The workload is described by
the JSON file given as the only argument; both sides of a comparison read the same file.
"""
import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def load_base(work):
    torch.set_num_threads(work["threads"])
    torch.manual_seed(work["seed"])
    dtype = torch.bfloat16 if work["arithmetic"] == "bf16" else torch.float32
    return AutoModelForCausalLM.from_pretrained(work["model"], dtype=dtype)


def load(work):
    model = load_base(work)
    model.config.use_cache = False
    config = LoraConfig(r=work["rank"], lora_alpha=work["alpha"], lora_dropout=0.0, task_type="CAUSAL_LM",
                        target_modules=work["target_modules"])
    model = get_peft_model(model, config)
    model.train()
    return model


def batch(sequences):
    """All sequences of a batch have one length, so that nothing is padded on this side."""
    ids = torch.tensor([s["ids"] for s in sequences])
    labels = ids.clone()
    for row, sequence in enumerate(sequences):
        labels[row, : sequence["prompt"]] = -100
    return ids, labels


def loss_of(model, data):
    """With a base in bf16 (the adapters are in floats: PEFT sees to that), under autocast."""
    ids, labels = data
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=model.dtype == torch.bfloat16):
        return model(input_ids=ids, labels=labels).loss


class TrainingStep:
    """Forward, backward, clip and AdamW of joint LoRA on one batch."""

    def __init__(self, work):
        self.model = model = load(work)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=work["lr"])
        self.data = batch(work["batch"])
        self.tokens = self.data[0].numel()

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.model, self.data)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return {"loss": loss.item()}


class MetaIteration:
    """MeTA-LoRA as its description reads: a copy per task, k SGD steps on its support set, the query gradient there,
    one AdamW step of the shared adapter with the mean."""

    def __init__(self, work):
        self.model = model = load(work)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=work["lr"])
        self.inner_steps = work["inner_steps"]
        self.inner_lr = work["inner_lr"]
        self.tasks = [(batch(t["support"]), batch(t["query"])) for t in work["tasks"]]
        self.tokens = sum(s[0].numel() * self.inner_steps + q[0].numel() for s, q in self.tasks)

    def run(self):
        shared = [p.detach().clone() for p in self.parameters]
        total = [torch.zeros_like(p) for p in self.parameters]
        losses = 0.0
        for support, query in self.tasks:
            with torch.no_grad():
                for p, s in zip(self.parameters, shared):
                    p.copy_(s)
            for _ in range(self.inner_steps):
                for p in self.parameters:
                    p.grad = None
                loss_of(self.model, support).backward()
                with torch.no_grad():
                    for p in self.parameters:
                        p.sub_(p.grad, alpha=self.inner_lr)
            for p in self.parameters:
                p.grad = None
            loss = loss_of(self.model, query)
            loss.backward()
            losses += loss.item()
            with torch.no_grad():
                for t, p in zip(total, self.parameters):
                    t.add_(p.grad, alpha=1.0 / len(self.tasks))
        with torch.no_grad():
            for p, s, t in zip(self.parameters, shared, total):
                p.copy_(s)
                p.grad = t
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return {"loss": losses / len(self.tasks)}


class Decoding:
    """Greedy continuation of one prompt by the base model with its cache, prompt included in the time."""

    def __init__(self, work):
        self.model = load_base(work).eval()
        self.prompt = torch.tensor([work["prompt"]])
        self.tokens = work["new_tokens"]

    @torch.inference_mode()
    def run(self):
        ids = self.model.generate(self.prompt, attention_mask=torch.ones_like(self.prompt), do_sample=False,
                                  max_new_tokens=self.tokens, min_new_tokens=self.tokens, use_cache=True)
        return {"ids": ids[0, self.prompt.shape[1]:].tolist()}


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        work = json.load(file)
    job = {"training_step": TrainingStep, "meta_iteration": MetaIteration, "decode": Decoding}[work["kind"]](work)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        start = time.perf_counter()
        result = job.run()
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": job.tokens, **result}), flush=True)
    print(json.dumps({"peak_rss": peak_rss()}), flush=True)


if __name__ == "__main__":
    main()
