"""Runs metalora and PyTorch + PEFT on the same work, one repetition of each in turn, and prints medians and ratios.

    python bench/peers/compare.py --model DIR [--kind training_step|meta_iteration|decode] [--loss all|completion]
                                  [--weights f32|bf16] [--isa auto avx2 avx512 ...] [--arithmetic fp32|bf16]
                                  [--batch 4] [--length 64] [--tasks 4] [--repetitions 5] [--threads 2] [--stock]
                                  [--out FILE.json]

Needs torch, transformers and peft in the running Python, and the benchmark jar (mvn -DskipTests package). The peer runs
with glibc tunables that keep freed memory and use huge pages, which makes PyTorch faster on the CPU; --stock adds a
worker with the allocator as it comes. Both sides compute in fp32; --weights says how metalora holds the frozen weights
meanwhile (bf16 loses nothing where the checkpoint is bf16), and --isa names the CPU kernels, a worker of metalora for
each. --arithmetic bf16 adds a worker of metalora whose products with the frozen weights are in bf16, and one of the peer
with a bf16 base under autocast. decode continues one prompt of --length tokens greedily by 64.

The workers get the same sequences, weights and settings. A training step's first losses agree. A MeTA iteration's differ a
little: metalora draws anew which half of a task's sequences is support and which is query, the peer takes them as given.
"""
import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIN_JDK = 22
NEW_TOKENS = 64
TUNED = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967295"


class Worker:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.seconds = []
        self.losses = []
        self.ids = None
        self.tokens = 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(environment or {})})
        self.read()

    def read(self):
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"{self.name} ended with status {self.process.wait()}; its messages are above")
            if line.startswith("{"):
                return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.read()

    def run(self, keep):
        answer = self.ask("run")
        self.tokens = answer["tokens"]
        if keep:
            self.seconds.append(answer["seconds"])
        if "loss" in answer:
            self.losses.append(answer["loss"])
        self.ids = answer.get("ids")

    def quit(self):
        self.peak_rss = self.ask("quit")["peak_rss"]
        self.process.wait()

    def summary(self):
        median = statistics.median(self.seconds)
        return {"worker": self.name, "tokens": self.tokens, "median_seconds": median, "seconds": self.seconds,
                "tokens_per_second": self.tokens / median, "peak_rss_bytes": self.peak_rss,
                **({"ids": self.ids} if self.ids else {"losses": self.losses})}


def sequences(rng, count, length, vocabulary, loss):
    prompt = 0 if loss == "all" else length - max(1, length // 8)
    return [{"ids": [rng.randrange(100, vocabulary) for _ in range(length)], "prompt": prompt} for _ in range(count)]


def workload(options):
    with open(pathlib.Path(options.model) / "config.json", encoding="utf-8") as file:
        vocabulary = json.load(file)["vocab_size"]
    rng = random.Random(options.seed)
    work = {"kind": options.kind, "model": str(options.model), "threads": options.threads, "seed": options.seed,
            "weights": options.weights, "arithmetic": "fp32", "isa": "auto",
            "rank": 8, "alpha": 16, "lr": 1e-4, "inner_lr": 1e-2, "inner_steps": 3,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
    draw = lambda: sequences(rng, options.batch, options.length, vocabulary, options.loss)
    if options.kind == "training_step":
        work["batch"] = draw()
    elif options.kind == "meta_iteration":
        work["tasks"] = [{"support": draw(), "query": draw()} for _ in range(options.tasks)]
    else:
        work["prompt"] = sequences(rng, 1, options.length, vocabulary, "all")[0]["ids"]
        work["new_tokens"] = NEW_TOKENS
    return work


def work_file(work):
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(work, file)
    return file.name


def java_of(given):
    """The java to run: the given one, or that of the JDK that ./metalora takes."""
    if given is None:
        asked = subprocess.run([str(ROOT / "metalora"), "--jdk"], stdout=subprocess.PIPE, text=True)
        if asked.returncode:
            sys.exit(asked.returncode)  # it has said why
        return str(pathlib.Path(asked.stdout.strip()) / "bin" / "java")
    try:
        answer = subprocess.run([given, "--version"], capture_output=True, text=True)
    except OSError as e:
        sys.exit(f"--java {given}: can't be run: {e.strerror}")
    release = re.search(r"\b(\d+)", answer.stdout)
    if answer.returncode or not release or int(release[1]) < MIN_JDK:
        found = f"is Java {release[1]}" if release else "does not say which Java it is"
        sys.exit(f"--java {given}: {found}; a JDK {MIN_JDK} or newer is needed. Name another, or omit --java for the one "
                 "that ./metalora takes")
    return given


def java_command(options, file):
    jar = next(iter(sorted((ROOT / "bench" / "target").glob("*-benchmarks.jar"))), None)
    if jar is None:
        sys.exit("no benchmark jar below bench/target: run `mvn -DskipTests package` first")
    return [options.java, "--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC", "-Xms32m",  # as ./metalora
            "-cp", str(jar), "io.metalora.bench.PeerWorker", file]


def machine(java):
    """What the figures were measured on."""
    cpus = pathlib.Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")] if cpus.exists() else []
    versions = subprocess.run([java, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {"date": datetime.date.today().isoformat(), "cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(),
            "jdk": versions[0], "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")}}


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--kind", choices=["training_step", "meta_iteration", "decode"], default="training_step")
    parser.add_argument("--loss", choices=["all", "completion"], default="all",
                        help="which tokens bear loss: all of them, or the last eighth of each sequence")
    parser.add_argument("--weights", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--isa", choices=["auto", "portable", "avx2", "avx512"], nargs="+", default=["auto"])
    parser.add_argument("--arithmetic", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--batch", type=int, default=4, help="sequences of a step, or of each support and query set")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=4, help="of a MeTA iteration")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--java", help="which java to run (default: that of the JDK that ./metalora takes)")
    parser.add_argument("--out")
    return parser


def start(options, work, files):
    """The workers: ours first, the peers after them."""
    def file(**changed):
        files.append(work_file({**work, **changed}))
        return files[-1]

    peer = [sys.executable, str(HERE / "peft_worker.py")]
    tuned = {"GLIBC_TUNABLES": TUNED}
    ours, peers = [], []
    for isa in options.isa:
        name = "metalora" if isa == "auto" else f"metalora ({isa})"
        ours.append(Worker(name, java_command(options, file(isa=isa))))
    if options.arithmetic == "bf16":
        changed = file(arithmetic="bf16", weights="bf16", isa=options.isa[-1])
        ours.append(Worker("metalora (bf16)", java_command(options, changed)))
        peers.append(Worker("peft (bf16)", [*peer, changed], tuned))
    plain = file()
    peers.insert(0, Worker("peft", [*peer, plain], tuned))
    if options.stock:
        peers.append(Worker("peft (stock allocator)", [*peer, plain]))
    return ours, peers


def measure(options):
    """Runs the comparison, prints it, and returns it as a record."""
    options.java = java_of(options.java)
    files = []
    try:
        ours, peers = start(options, workload(options), files)
        for repetition in range(options.repetitions + 1):  # the first warms up
            for worker in ours + peers:
                worker.run(keep=repetition > 0)
        for worker in ours + peers:
            worker.quit()
    finally:
        for file in files:
            os.unlink(file)
    for worker in ours + peers:
        row = worker.summary()
        said = f"first loss {worker.losses[0]:.4f}" if worker.losses else f"ids {worker.ids[:4]}..."
        print(f"{row['worker']:24} {row['median_seconds']:8.3f} s  {row['tokens_per_second']:8.1f} tok/s  "
              f"peak {row['peak_rss_bytes'] / 2**30:5.2f} GiB  {said}")
    for own in ours:
        for other in peers + [worker for worker in ours if worker is not own]:
            print(f"{own.name} is {ratio(own, other):.2f} x as fast as {other.name}, "
                  f"with {own.peak_rss / other.peak_rss:.2f} x its peak memory")
    return {"machine": machine(options.java), "model": pathlib.Path(options.model).name, "kind": options.kind,
            "loss": options.loss, "batch": options.batch, "length": options.length, "tasks": options.tasks,
            "weights": options.weights, "threads": options.threads, "repetitions": options.repetitions,
            "workers": [worker.summary() for worker in ours + peers]}


def ratio(own, other):
    return statistics.median(other.seconds) / statistics.median(own.seconds)


def main():
    options = parser().parse_args()
    record = measure(options)
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
