"""Scores completions with transformers + PEFT as `metalora score` does, and compares with what metalora wrote.

    ./metalora score --model DIR --adapter DIR --data FILE.jsonl --out SCORES.jsonl
    python bench/peers/score.py --model DIR --adapter DIR --data FILE.jsonl --scores SCORES.jsonl

Prints the largest absolute and relative difference of a log-probability, in fp32. Ends with 1 if a number of tokens
differs or a relative difference is over --tolerance.
"""
import argparse
import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--data", required=True)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    if options.adapter:
        model = PeftModel.from_pretrained(model, options.adapter)
    model.eval()
    data, scores = lines(options.data), lines(options.scores)
    if len(data) != len(scores):
        sys.exit(f"{options.data} has {len(data)} lines, {options.scores} {len(scores)}")
    absolute = relative = 0.0
    for example, score in zip(data, scores):
        prompt = tokenizer.encode(example["prompt"])
        completion = tokenizer.encode(example["completion"], add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0].double()
        logprobs = torch.log_softmax(logits[len(prompt) - 1:-1], dim=-1)
        expected = logprobs[range(len(completion)), completion].sum().item()
        if score["tokens"] != len(completion):
            sys.exit(f"line {score['index']}: {score['tokens']} tokens, {len(completion)} expected")
        difference = abs(score["logprob"] - expected)
        absolute, relative = max(absolute, difference), max(relative, difference / max(abs(expected), 1e-3))
    print(f"{len(data)} completions: largest difference {absolute:.2e} nats, relative {relative:.2e}")
    sys.exit(0 if relative <= options.tolerance else 1)


if __name__ == "__main__":
    main()
