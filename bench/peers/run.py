"""The whole table beside transformers + PEFT in one call: steps, iterations, decoding, threads and tasks.

    python bench/peers/run.py --model SMOLLM2_135M --embedded models/tiny --out FOLDER [--isa avx2 avx512] [--only LINE ...]

Each line is one run of compare.py or some, whose workers take turns; the machine has to be idle otherwise. Writes a file a
line as JSON, with every time, and from all of them table.md, so that lines can be measured again one by one (--only). Says
which ratios have fallen by more than a tenth since the files that were there before.
"""
import argparse
import contextlib
import io
import json
import pathlib
import re
import statistics
import time

import torch

import compare

STEP = {"kind": "training_step"}
META = {"kind": "meta_iteration", "loss": "completion"}


def lines(isa):
    """Name -> (what is passed to compare.py, whether bf16 arithmetic is measured too)."""
    sizes = [(4, 64), (4, 128), (8, 64), (1, 512), (4, 512)]
    found = {f"step {batch} x {length}, loss on all": {**STEP, "batch": batch, "length": length, "arithmetic": "bf16"}
             for batch, length in sizes}
    found["step 4 x 64, loss on completions"] = {**STEP, "loss": "completion", "batch": 4, "length": 64, "arithmetic": "bf16"}
    found["MeTA iteration 4 x (4 + 4) x 64, loss on completions"] = {**META, "arithmetic": "bf16"}
    found["MeTA iteration 4 x (4 + 4) x 64, loss on all"] = {**META, "loss": "all", "arithmetic": "bf16"}
    found["embedded model, step 4 x 64"] = {**STEP, "embedded": True, "repetitions": 15}
    found["greedy decoding, 64 tokens after 16"] = {"kind": "decode", "weights": "bf16", "length": 16, "arithmetic": "bf16"}
    for each in found.values():
        each["isa"] = isa
    return found


def measure(settings, options, **changed):
    """One run of compare.py; what it prints is kept out of the table's way."""
    settings = {**settings, **changed}
    model = options.embedded if settings.pop("embedded", False) else options.model
    arguments = compare.parser().parse_args(["--model", str(model)])
    arguments.repetitions = options.repetitions
    for key, value in settings.items():
        setattr(arguments, key, value)
    with contextlib.redirect_stdout(io.StringIO()):
        return compare.measure(arguments)


def seconds(record):
    return {worker["worker"]: worker["median_seconds"] for worker in record["workers"]}


def peaks(record):
    return {worker["worker"]: worker["peak_rss_bytes"] for worker in record["workers"]}


def row(name, record):
    """The ratios of a line: over PEFT in floats, and in bf16 over PEFT in bf16 and over our own floats."""
    taken, peak = seconds(record), peaks(record)
    ratios = {}
    own = [worker for worker in taken if worker.startswith("metalora") and worker != "metalora (bf16)"]
    for worker in own:
        ratios[f"{worker} over peft"] = taken["peft"] / taken[worker]
    if "metalora (bf16)" in taken:
        ratios["metalora (bf16) over peft (bf16)"] = taken["peft (bf16)"] / taken["metalora (bf16)"]
        ratios[f"metalora (bf16) over {own[-1]}"] = taken[own[-1]] / taken["metalora (bf16)"]
        ratios[f"{own[-1]} over peft (bf16)"] = taken["peft (bf16)"] / taken[own[-1]]
    return {"line": name, "seconds": taken, "ratios": ratios, "memory": peak[own[-1]] / peak["peft"]}


def read_bandwidth(threads):
    """Bytes a second that a sum over 1 GiB reads: the median of nine."""
    torch.set_num_threads(threads)
    numbers = torch.ones(2**28)
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - begin)
    return numbers.numel() * 4 / statistics.median(times)


def markdown(rows):
    text = ["| | seconds, medians | ratios | peak memory over PEFT's |", "| --- | --- | --- | ---: |"]
    for each in rows:
        times = ", ".join(f"{worker} {value:.3f}" for worker, value in each["seconds"].items())
        ratios = ", ".join(f"{what} **{value:.2f}**" for what, value in each["ratios"].items())
        memory = f"{each['memory']:.2f}" if each["memory"] else ""
        text.append(f"| {each['line']} | {times} | {ratios} | {memory} |")
    return "\n".join(text) + "\n"


def threads_line(options):
    """One thread before and after two, so that the machine's drift falls on both."""
    first, two, last = (measure(STEP, options, batch=4, length=128, threads=threads) for threads in (1, 2, 1))
    one = {worker: statistics.median([seconds(first)[worker], seconds(last)[worker]]) for worker in seconds(two)}
    return [first, two, last], {"line": "threads: 1 and 2, step 4 x 128",
                                "seconds": {"1 thread": one["metalora"], "2 threads": seconds(two)["metalora"]},
                                "ratios": {"2 threads over 1": one["metalora"] / seconds(two)["metalora"],
                                           "peft's": one["peft"] / seconds(two)["peft"]}, "memory": None}


def tasks_line(options):
    """The cost a token of a MeTA iteration, at the same number of tokens a pack: 32 support and 32 query sequences in all."""
    records, costs, peers = [], {}, {}
    for tasks in (1, 4, 32):
        records.append(measure(META, options, loss="all", tasks=tasks, batch=32 // tasks, length=32, repetitions=3))
        of_worker = {worker["worker"]: worker["median_seconds"] / worker["tokens"] for worker in records[-1]["workers"]}
        costs[tasks], peers[tasks] = of_worker["metalora"], of_worker["peft"]
    return records, {"line": "tasks of an iteration, 32 + 32 sequences of 32 in all: ms a token",
                     "seconds": {**{f"{tasks} tasks": 1e3 * cost for tasks, cost in costs.items()},
                                 **{f"peft, {tasks} tasks": 1e3 * cost for tasks, cost in peers.items()}},
                     "ratios": {"most over least": max(costs.values()) / min(costs.values()),
                                "peft's": max(peers.values()) / min(peers.values())}, "memory": None}


def peer_line(name, settings, options):
    record = measure(settings, options)
    line = row(name, record)
    if settings["kind"] == "decode":
        size = sum(file.stat().st_size for file in pathlib.Path(options.model).glob("*.safetensors"))  # of a checkpoint in bf16
        best = min(value for worker, value in line["seconds"].items() if worker.startswith("metalora"))
        line["ratios"]["weights read a second over a sum's reading"] = size * compare.NEW_TOKENS / best / read_bandwidth(record["threads"])
    return [record], line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the folder of SmolLM2-135M")
    parser.add_argument("--embedded", required=True, help="the folder of the embedded model")
    parser.add_argument("--isa", nargs="+", default=["auto"], help="our CPU kernels, the last is the one bf16 is beside")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="lines whose name begins with one of these")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = {name: lambda name=name, settings=settings: peer_line(name, settings, options)
            for name, settings in lines(options.isa).items()}
    jobs["threads"] = lambda: threads_line(options)
    jobs["tasks"] = lambda: tasks_line(options)
    rows = []
    for name, job in jobs.items():
        file = out / (re.sub("[^0-9A-Za-z]+", "-", name) + ".json")
        before = json.loads(file.read_text())["line"] if file.exists() else None
        if not options.only or any(name.startswith(each) for each in options.only):
            records, line = job()
            file.write_text(json.dumps({"line": line, "records": records}, indent=1) + "\n")
            print(markdown([line]).splitlines()[-1], flush=True)
            for what, value in line["ratios"].items():
                old = before["ratios"].get(what) if before else None
                if old and "over" in what and "most" not in what and value < 0.9 * old:
                    print(f"fallen: {name}, {what}: {value:.2f}, was {old:.2f}")
            rows.append(line)
        elif before:
            rows.append(before)
    (out / "table.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
