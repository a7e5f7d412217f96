"""The same work as bench_cuda in PyTorch: LoRA linears of PEFT, training steps and MeTA-LoRA iterations of Llama shapes.

    python bench/gpu/peers.py [--ours PATH_OF_bench_cuda] [--what linear step meta] [--out FILE.jsonl] [--tiny]

bf16, sdpa, random weights, gradient checkpointing off; eager and torch.compile. One JSON object a line. With --ours, our
program runs before and after PyTorch for each kind of work, so that the two are measured side by side on one machine in one
run. --tiny with a CPU tries the script out.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPES = {
    "Llama-2-7B": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
                       intermediate_size=11008, vocab_size=32000),
    "Llama-3-8B": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
                       intermediate_size=14336, vocab_size=128256),
}
TINY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=96, vocab_size=128)


class Bench:
    def __init__(self, options):
        self.options = options
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.out = open(options.out, "a", encoding="utf-8") if options.out else None

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def median(self, work, repetitions, times):
        taken = []
        for repetition in range(repetitions + 2):  # compiling, warming up
            self.synchronize()
            start = time.perf_counter()
            for _ in range(times):
                work()
            self.synchronize()
            if repetition > 1:
                taken.append((time.perf_counter() - start) / times)
        return statistics.median(taken)

    def say(self, **figures):
        line = json.dumps(figures)
        print(line, flush=True)
        if self.out:
            self.out.write(line + "\n")
            self.out.flush()

    def ours(self, what):
        if self.options.ours:
            command = [self.options.ours, what] + (["--tiny"] if self.options.tiny else [])
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for line in output.splitlines():
                if line.startswith("{"):
                    self.say(**json.loads(line), beside="peers")

    def memory(self):
        return torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else 0.0

    def linear(self):
        tiny = self.options.tiny
        tokens = 64 if tiny else 8192
        for in_features, out_features in [(64, 96)] if tiny else [(4096, 4096), (4096, 11008), (11008, 4096), (4096, 14336)]:
            for rank in [8] if tiny else [8, 16, 64]:
                base = torch.nn.Linear(in_features, out_features, bias=False, device=self.device, dtype=torch.bfloat16)
                base.weight.requires_grad_(False)
                wrapped = torch.nn.Sequential()
                wrapped.add_module("q_proj", base)
                model = get_peft_model(wrapped, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj"]))
                x = torch.randn(tokens, in_features, device=self.device, dtype=torch.bfloat16, requires_grad=True)
                dy = torch.randn(tokens, out_features, device=self.device, dtype=torch.bfloat16)
                weight = base.weight if hasattr(base, "weight") else base.base_layer.weight
                repetitions, times = (1, 1) if tiny else (11, 20)
                frozen = self.median(lambda: torch.nn.functional.linear(x.detach(), weight), repetitions, times)
                frozen_dx = self.median(lambda: dy @ weight, repetitions, times)
                for name in ["eager"] if tiny else ["eager", "compile"]:
                    run = model if name == "eager" else torch.compile(model)

                    def both():
                        y = run(x)
                        y.backward(dy)
                        x.grad = None

                    with torch.autocast(self.device, dtype=torch.bfloat16):
                        forward = self.median(lambda: run(x), repetitions, times)
                        total = self.median(both, repetitions, times)
                    self.say(bench="lora_linear", peer=f"PEFT {name}", tokens=tokens, rank=rank, frozen_us=frozen * 1e6,
                             forward_us=forward * 1e6, forward_ratio=forward / frozen, frozen_dx_us=frozen_dx * 1e6,
                             backward_us=(total - forward) * 1e6, backward_ratio=(total - forward) / frozen_dx,
                             **{"in": in_features, "out": out_features})

    def model(self, shape):
        torch.manual_seed(1)
        config = LlamaConfig(**(TINY if self.options.tiny else SHAPES[shape]), max_position_embeddings=4096, use_cache=False,
                             attn_implementation="sdpa")
        previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self.device):
            model = LlamaForCausalLM(config)
        torch.set_default_dtype(previous)
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LINEARS, task_type="CAUSAL_LM"))
        return model.train(), config

    def step(self):
        sequences, length = (2, 17) if self.options.tiny else (16, 512)
        for shape in SHAPES:
            model, config = self.model(shape)
            parameters = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=self.device == "cuda")
            ids = torch.randint(config.vocab_size, (sequences, length), device=self.device)
            for name in ["eager"] if self.options.tiny else ["eager", "compile"]:
                run = model if name == "eager" else torch.compile(model)
                if self.device == "cuda":
                    torch.cuda.reset_peak_memory_stats()

                def work():
                    optimizer.zero_grad(set_to_none=True)
                    with torch.autocast(self.device, dtype=torch.bfloat16):
                        run(input_ids=ids, labels=ids).loss.backward()
                    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                    optimizer.step()

                try:
                    seconds = self.median(work, 1 if self.options.tiny else 5, 1)
                except torch.OutOfMemoryError as error:
                    self.say(bench="training_step", peer=f"transformers + PEFT {name}", shape=shape, error=str(error).splitlines()[0])
                    continue
                self.say(bench="training_step", peer=f"transformers + PEFT {name}", shape=shape, tokens=ids.numel(), seconds=seconds,
                         tokens_per_second=ids.numel() / seconds, peak_gib=self.memory())
            del model, optimizer, parameters
            if self.device == "cuda":
                torch.cuda.empty_cache()

    def meta(self):
        """As its description reads: task after task, a copy, its SGD steps, its query gradient; then one AdamW step."""
        sequences, length = (2, 9) if self.options.tiny else (8, 256)
        tasks, inner_steps, inner_rate = 4, 3, 1e-2
        model, config = self.model("Llama-2-7B")
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=self.device == "cuda")
        draw = lambda: torch.randint(config.vocab_size, (sequences, length), device=self.device)
        sets = [(draw(), draw()) for _ in range(tasks)]

        def gradients(ids):
            with torch.autocast(self.device, dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss
            return torch.autograd.grad(loss, parameters)

        def work():
            shared = [p.detach().clone() for p in parameters]
            total = [torch.zeros_like(p) for p in parameters]
            for support, query in sets:
                with torch.no_grad():
                    torch._foreach_copy_(parameters, shared)
                for _ in range(inner_steps):
                    gradient = gradients(support)
                    with torch.no_grad():
                        torch._foreach_add_(parameters, gradient, alpha=-inner_rate)
                torch._foreach_add_(total, gradients(query), alpha=1 / tasks)
            with torch.no_grad():
                torch._foreach_copy_(parameters, shared)
            for p, gradient in zip(parameters, total):
                p.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        seconds = self.median(work, 1 if self.options.tiny else 3, 1)
        tokens = tasks * sequences * length * (inner_steps + 1)
        self.say(bench="meta_iteration", peer="transformers + PEFT, naive", shape="Llama-2-7B", tokens=tokens, seconds=seconds,
                 tokens_per_second=tokens / seconds, peak_gib=self.memory())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours")
    parser.add_argument("--what", nargs="+", choices=["linear", "step", "meta"], default=["linear", "step", "meta"])
    parser.add_argument("--out")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("this PyTorch sees no GPU; --tiny tries the script out on the CPU")
    bench = Bench(options)
    for what in options.what:
        bench.ours(what)
        getattr(bench, what)()
        bench.ours(what)


if __name__ == "__main__":
    main()
