"""The same work as bench_cuda in PyTorch: LoRA linears of PEFT, training steps and MeTA-LoRA iterations of Llama shapes.

    python bench/gpu/peers.py [--ours PATH_OF_bench_cuda] [--what linear reduce step-7b step-8b meta] [--out FOLDER] [--tiny]

bf16, sdpa, random weights, gradient checkpointing off; eager and torch.compile; adapters in fp32 under autocast, as PEFT makes
them, and in bf16 without. One process a measurement, so that none finds memory of another; linears share one by kind of peer.
One JSON object a line, in FOLDER/peers.jsonl too. With --ours, our program runs before and after PyTorch's linears and before
each of its other measurements, so that medians of both are of one machine and one run. Then each target is a line, with what
was measured and whether it is met, in FOLDER/summary.jsonl too. --tiny with a CPU tries the script out.
"""
import argparse
import contextlib
import gc
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peft
import torch
import transformers

KINDS = ["linear", "reduce", "step-7b", "step-8b", "meta"]
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPES = {
    "Llama-2-7B": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
                       intermediate_size=11008, vocab_size=32000),
    "Llama-3-8B": dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
                       intermediate_size=14336, vocab_size=128256),
}
SHAPE_OF = {"step-7b": "Llama-2-7B", "step-8b": "Llama-3-8B", "meta": "Llama-2-7B"}
TINY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=96, vocab_size=128)
LINEAR_SIZES = [(4096, 4096), (4096, 11008), (11008, 4096), (4096, 14336)]
RANKS = [8, 16, 64]
SECONDS_FOR_OURS, SECONDS_FOR_A_PEER = 240, 420  # then it is ended, and the next one has its turn


class Peer:
    """One measurement, in a process of its own."""

    def __init__(self, kind, adapters, mode, tiny):
        self.kind, self.adapters, self.mode, self.tiny = kind, adapters, mode, tiny
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = f"PEFT {mode}, {'fp32 adapters, autocast' if adapters == 'fp32' else 'bf16 adapters'}"

    def run(self):
        try:
            {"linear": self.linear, "meta": self.meta}.get(self.kind, self.step)()
        except torch.cuda.OutOfMemoryError as error:
            self.say(error=str(error).splitlines()[0], **({"shape": SHAPE_OF[self.kind]} if self.kind in SHAPE_OF else {}))

    def say(self, **figures):
        bench = {"linear": "lora_linear", "meta": "meta_iteration"}.get(self.kind, "training_step")
        print(json.dumps(dict(bench=bench, peer=self.name, **figures)), flush=True)

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def forget(self):
        """So that a peak has nothing in it of what ran before: of building, compiling, another measurement."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def median(self, work, repetitions, times):
        taken = []
        for repetition in range(repetitions + 2):  # compiling, warming up
            if repetition == 1:
                self.forget()
            self.synchronize()
            start = time.perf_counter()
            for _ in range(times):
                work()
            self.synchronize()
            if repetition > 1:
                taken.append((time.perf_counter() - start) / times)
        return statistics.median(taken)

    def memory(self):
        """Peaks of tensors, and of what the allocator held for them; the process's memory at the end has CUDA's context too."""
        if self.device != "cuda":
            return dict(peak_gib=None, reserved_gib=None, process_gib=None)
        process = None
        with contextlib.suppress(OSError):
            listed = subprocess.run(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"],
                                    capture_output=True, text=True).stdout
            for pid, mib in (line.split(", ") for line in listed.splitlines() if line.count(", ") == 1):
                if pid == str(os.getpid()) and mib.isdigit():
                    process = int(mib) / 1024
        return dict(peak_gib=torch.cuda.max_memory_allocated() / 2**30, reserved_gib=torch.cuda.max_memory_reserved() / 2**30,
                    process_gib=process)

    def adapted(self, model, **config):
        """Adapters of the type asked for on a bf16 model."""
        model = peft.get_peft_model(model, peft.LoraConfig(**config), autocast_adapter_dtype=self.adapters == "fp32")
        wanted = torch.float32 if self.adapters == "fp32" else torch.bfloat16
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(wanted)
        return model.train()

    def precision(self):
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.adapters == "fp32" else contextlib.nullcontext()

    def made(self, model):
        """The model as it is run. A compiled one never falls back to eager without an error."""
        if self.mode == "eager":
            return model
        torch._dynamo.reset()
        torch._dynamo.config.suppress_errors = False
        torch._dynamo.config.cache_size_limit = 64
        torch._dynamo.config.fail_on_cache_limit_hit = True
        torch._dynamo.utils.counters.clear()
        return torch.compile(model, dynamic=False, backend="aot_eager" if self.tiny else "inductor")

    def compiled(self):
        if self.mode == "eager":
            return {}
        counters = torch._dynamo.utils.counters
        graphs = counters["stats"]["unique_graphs"]
        if graphs == 0:
            raise RuntimeError("torch.compile compiled nothing")
        return dict(graphs=graphs, graph_breaks=sum(counters["graph_break"].values()))

    def linear(self):
        tokens = 64 if self.tiny else 8192
        repetitions, times = (1, 1) if self.tiny else (11, 10)
        for in_features, out_features in [(64, 96)] if self.tiny else LINEAR_SIZES:
            for rank in [8] if self.tiny else RANKS:
                base = torch.nn.Linear(in_features, out_features, bias=False, device=self.device, dtype=torch.bfloat16)
                weight = base.weight.requires_grad_(False)
                wrapped = torch.nn.Sequential()
                wrapped.add_module("q_proj", base)
                model = self.adapted(wrapped, r=rank, lora_alpha=2 * rank, target_modules=["q_proj"])
                parameters = [p for p in model.parameters() if p.requires_grad]
                x = torch.randn(tokens, in_features, device=self.device, dtype=torch.bfloat16, requires_grad=True)
                dy = torch.randn(tokens, out_features, device=self.device, dtype=torch.bfloat16)
                frozen = self.median(lambda: torch.nn.functional.linear(x.detach(), weight), repetitions, times)
                frozen_dx = self.median(lambda: dy @ weight, repetitions, times)
                run = self.made(model)

                def both():
                    run(x).backward(dy)
                    x.grad = None
                    for parameter in parameters:
                        parameter.grad = None

                with self.precision():
                    forward = self.median(lambda: run(x), repetitions, times)
                    total = self.median(both, repetitions, times)
                self.say(**{"in": in_features, "out": out_features}, tokens=tokens, rank=rank, frozen_us=frozen * 1e6,
                         frozen_dx_us=frozen_dx * 1e6, forward_us=forward * 1e6, forward_ratio=forward / frozen,
                         forward_backward_us=total * 1e6, difference_us=(total - forward) * 1e6, **self.compiled())

    def model(self):
        torch.manual_seed(1)
        config = transformers.LlamaConfig(**(TINY if self.tiny else SHAPES[SHAPE_OF[self.kind]]), max_position_embeddings=4096,
                                          use_cache=False, attn_implementation="sdpa")
        previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self.device):
            model = transformers.LlamaForCausalLM(config)
        torch.set_default_dtype(previous)
        model = self.adapted(model, r=16, lora_alpha=32, target_modules=LINEARS, task_type="CAUSAL_LM")
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=self.device == "cuda")
        return self.made(model), parameters, optimizer, config

    def report(self, tokens, seconds):
        self.say(shape=SHAPE_OF[self.kind], tokens=tokens, seconds=seconds, tokens_per_second=tokens / seconds, **self.memory(),
                 **self.compiled())

    def step(self):
        sequences, length = (2, 17) if self.tiny else (16, 512)
        model, parameters, optimizer, config = self.model()
        ids = torch.randint(config.vocab_size, (sequences, length), device=self.device)

        def work():
            optimizer.zero_grad(set_to_none=True)
            with self.precision():
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        seconds = self.median(work, 1 if self.tiny else 5, 1)
        self.report(ids.numel(), seconds)

    def meta(self):
        """As its description reads: task after task, a copy, its SGD steps, its query gradient; then one AdamW step."""
        sequences, length = (2, 9) if self.tiny else (8, 256)
        tasks, inner_steps, inner_rate = 4, 3, 1e-2
        model, parameters, optimizer, config = self.model()
        draw = lambda: torch.randint(config.vocab_size, (sequences, length), device=self.device)
        sets = [(draw(), draw()) for _ in range(tasks)]

        def gradients(ids):
            with self.precision():
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

        seconds = self.median(work, 1 if self.tiny else 3, 1)
        self.report(tasks * sequences * length * (inner_steps + 1), seconds)


class Session:
    """Runs measurements one after the other, and keeps their lines."""

    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(options.out) if options.out else None
        self.out = None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.out = open(self.folder / "peers.jsonl", "w", encoding="utf-8")
            (self.folder / "summary.jsonl").write_text("")
        self.ours_lines, self.peer_lines = [], []
        self.failed = False

    def say(self, figures):
        line = json.dumps(figures)
        print(line, flush=True)
        if self.out:
            self.out.write(line + "\n")
            self.out.flush()

    def measure(self, command, limit):
        """The lines that a command prints. What it has to say is shown where it fails, and no other measurement suffers."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = f"no end within {limit} s"
                os.killpg(process.pid, signal.SIGKILL)  # torch.compile's workers too
                process.wait()
            output.seek(0), errors.seek(0)
            lines = [json.loads(line) for line in output if line.startswith("{") and line.endswith("}\n")]
            if code != 0:
                self.failed = True
                print(f"FAILED ({code}): {' '.join(command)}\n{errors.read()[-4000:]}", file=sys.stderr, flush=True)
        return lines

    def ours(self, kind):
        if self.options.ours:
            for line in self.measure([self.options.ours, kind] + ["--tiny"] * self.options.tiny, SECONDS_FOR_OURS):
                self.ours_lines.append(line)
                self.say(dict(line, beside="peers"))

    def peer(self, kind, adapters, mode):
        command = [sys.executable, os.path.abspath(__file__), "--one", kind, adapters, mode] + ["--tiny"] * self.options.tiny
        for line in self.measure(command, SECONDS_FOR_A_PEER):
            self.peer_lines.append(line)
            self.say(line)

    def run(self, kind):
        peers = [] if kind == "reduce" else [(adapters, mode) for mode in ("eager", "compile") for adapters in ("fp32", "bf16")]
        self.ours(kind)
        for index, peer in enumerate(peers):
            if index > 0 and kind != "linear":
                self.ours(kind)
            self.peer(kind, *peer)
        if kind in ("linear", "reduce"):
            self.ours(kind)

    def of(self, lines, bench, **where):
        return [line for line in lines if line["bench"] == bench and "error" not in line and all(line[k] == v for k, v in where.items())]

    def ratios(self):
        """Our linears, as a context runs them unless told otherwise, over PyTorch's frozen products: medians of both."""
        found = []
        median = lambda lines, value: statistics.median(value(line) for line in lines)
        ours = self.of(self.ours_lines, "lora_linear")
        for size in dict.fromkeys((line["in"], line["out"], line["rank"], line["slots"]) for line in ours):
            where = dict(zip(("in", "out"), size))
            mine = self.of(ours, "lora_linear", **where, rank=size[2], slots=size[3])
            torch_lines = self.of(self.peer_lines, "lora_linear", **where)
            if not torch_lines:
                continue
            forward, fused, backward = (median(mine, lambda line: line[f"{way}_us"]["default"]) for way in ("forward", "fused_forward", "backward"))
            frozen, frozen_dx = (median(torch_lines, lambda line: line[name]) for name in ("frozen_us", "frozen_dx_us"))
            # A peer has one adapter; four slots of ours do the same products.
            peers = self.of(torch_lines, "lora_linear", rank=size[2])
            fastest = lambda name: min((line[name] for line in peers), default=None)
            found.append(dict(bench="ratio_to_torch_frozen", **where, rank=size[2], slots=size[3], forward=forward / frozen,
                              fused_forward=fused / frozen, backward=backward / frozen_dx, forward_us=forward, fused_forward_us=fused, backward_us=backward, frozen_us=frozen,
                              frozen_dx_us=frozen_dx,
                              forward_backward_us=median(mine, lambda line: line["forward_backward_us"]["default"]),
                              fastest_peer_forward_us=fastest("forward_us"),
                              fastest_peer_forward_backward_us=fastest("forward_backward_us")))
        return found

    def summary(self, kinds):
        """A line for each target of the kinds of work: met where all of it was measured, and measured good enough."""
        lines = []

        def target(text, measured, good, whole=True, **more):
            lines.append(dict(target=text, measured=measured, met=bool(measured is not None and whole and good(measured)), **more))

        def worst(ratios, way):
            at = max(ratios, key=lambda line: line[way], default=None)
            return dict(measured=at and at[way], whole=len(ratios) == (2 if self.options.tiny else len(LINEAR_SIZES) * len(RANKS) * 2),
                        measured_cases=len(ratios), worst_at=at and {k: at[k] for k in ("in", "out", "rank", "slots")})

        def median(bench, name, shape):
            values = [line[name] for line in self.of(self.ours_lines, bench, shape=shape)]
            return statistics.median(values) if values else None

        def peers_of(kind):
            """Which of the four peers were measured, or tried to and ran out of memory; and which are missing."""
            names = {Peer(kind, adapters, mode, False).name for mode in ("eager", "compile") for adapters in ("fp32", "bf16")}
            bench = "meta_iteration" if kind == "meta" else "training_step"
            shape = SHAPE_OF[kind]
            tried = {line["peer"] for line in self.peer_lines if line["bench"] == bench and line.get("shape", shape) == shape}
            return dict(whole=names <= tried, missing_peers=sorted(names - tried))

        def over_peers(bench, shape, rate):
            return {line["peer"]: rate / line["tokens_per_second"] for line in self.of(self.peer_lines, bench, shape=shape)} if rate else {}

        if "linear" in kinds:
            ratios = self.ratios()
            cases = "M = 8192, r = 8, 16, 64, 1 and 4 slots, worst case"
            target(f"LoRA linear forward over torch's frozen GEMM <= 1.06: {cases}", good=lambda x: x <= 1.06, **worst(ratios, "forward"))
            target(f"LoRA linear forward with its shrink in the norm before it, over torch's frozen GEMM <= 1.03: {cases}",
                   good=lambda x: x <= 1.03, **worst(ratios, "fused_forward"))
            target(f"LoRA linear backward over torch's frozen dX GEMM <= 1.10: {cases}", good=lambda x: x <= 1.10, **worst(ratios, "backward"))
        if "reduce" in kinds:
            shares = {}
            for line in self.of(self.ours_lines, "task_reduce"):
                for name in ("sum_share", "sum_and_gram_share"):
                    shares.setdefault(f"{name}, {line['slots']} slots", []).append(line[name])
            shares = {name: statistics.median(values) for name, values in shares.items()}
            target("reduction, with and without Gram, >= 0.80 of copy bandwidth: worst case", min(shares.values(), default=None),
                   lambda x: x >= 0.80, whole=len(shares) == 6, shares=shares)
            for name in ("clip", "adamw"):
                values = [line[f"{name}_share"] for line in self.of(self.ours_lines, "optimizer")]
                target(f"{name} over one flat buffer, >= 0.80 of copy bandwidth", statistics.median(values) if values else None, lambda x: x >= 0.80)
        for kind, least in (("step-7b", 22000), ("step-8b", 19500)):
            if kind in kinds:
                shape = SHAPE_OF[kind]
                rate = median("training_step", "tokens_per_second", shape)
                target(f"training step {shape}, r = 16, 16 x 512 tokens >= {least} tokens/s", rate, lambda x: x >= least,
                       over_peers=over_peers("training_step", shape, rate))
        if "step-7b" in kinds:
            mine = median("training_step", "peak_gib", "Llama-2-7B")
            theirs = {line["peer"]: line["peak_gib"] for line in self.of(self.peer_lines, "training_step", shape="Llama-2-7B") if line["peak_gib"]}
            least = min(theirs.values(), default=None)
            target("peak memory of a training step at 7B over the least of PEFT's without gradient checkpointing <= 1",
                   mine / least if mine is not None and least else None, lambda x: x <= 1, ours_gib=mine, peers_gib=theirs, **peers_of("step-7b"))
        if "meta" in kinds:
            rate = median("meta_iteration", "tokens_per_second", "Llama-2-7B")
            over = over_peers("meta_iteration", "Llama-2-7B", rate)
            target("MeTA iteration 7B, 4 tasks, 3 inner steps, 8 x 256 support and query, over the fastest naive PEFT >= 4",
                   min(over.values(), default=None), lambda x: x >= 4, over_peers=over, **peers_of("meta"))
        if self.folder:
            (self.folder / "summary.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours")
    parser.add_argument("--what", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # how this script runs a measurement
    options = parser.parse_args()
    if options.one:
        return Peer(*options.one, options.tiny).run()
    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("this PyTorch sees no GPU; --tiny tries the script out on the CPU")
    session = Session(options)
    session.say(dict(bench="versions", torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__))
    for index, kind in enumerate(options.what):
        session.run(kind)
        if options.ours:
            session.summary(options.what[:index + 1])  # in its file already, should the rest be cut off
    if options.ours:
        for line in session.ratios() + session.summary(options.what):
            session.say(line)
    sys.exit(session.failed)


if __name__ == "__main__":
    main()
