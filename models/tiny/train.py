"""Trains the embedded tiny base on the text that the project's task generator writes.

    java -cp java/core/target/classes:java/launcher/target/classes io.metalora.launcher.synthetic.CorpusWriter ALL 600000 1 all
    java -cp java/core/target/classes:java/launcher/target/classes io.metalora.launcher.synthetic.CorpusWriter CORE 400000 2 core
    python models/tiny/train.py ALL OUT --steps 6000 --stop-at 2100 && python models/tiny/train.py CORE OUT --steps 6000

DATA/corpus.jsonl is read once, each sample one sequence: BOS prompt completion EOS. Sequences of similar length share a
batch, so that padding is rare and no sequence sees another. The loss weighs a completion token (and EOS) 1 and a prompt
token PROMPT_WEIGHT. OUT holds the Hugging Face folder of the last checkpoint, state.pt to continue from, and log.jsonl.
Needs torch, transformers, tokenizers, safetensors.
"""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

VOCABULARY = 2048
PROMPT_WEIGHT = 0.1
BOS, EOS = "<s>", "</s>"


def config():
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=2, head_dim=32, max_position_embeddings=256,
        rope_theta=10000.0, rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=False, mlp_bias=False,
        bos_token_id=0, eos_token_id=1, pad_token_id=None, initializer_range=0.03)


def train_tokenizer(texts):
    """Byte-level BPE over words with their leading space; every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > VOCABULARY:
        raise SystemExit(f"tokenizer has {tokenizer.get_vocab_size()} entries, more than {VOCABULARY}")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0), (EOS, 1)])
    return tokenizer


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def held_out_prompts(data):
    """The tokenizer (not the model) also sees the held-out prompts, so that their words are not split into bytes."""
    for setting in ("multi-task", "multilingual"):
        for task in sorted(os.listdir(os.path.join(data, setting))):
            for row in read(os.path.join(data, setting, task, "train.jsonl")):
                yield row["prompt"]


def encode(tokenizer, rows):
    prompts = tokenizer.encode_batch([row["prompt"] for row in rows])
    completions = tokenizer.encode_batch([row["completion"] for row in rows], add_special_tokens=False)
    return [(p.ids + c.ids + [1], len(p.ids)) for p, c in zip(prompts, completions)]


def batches(encoded, batch, seed):
    """Batches of sequences of similar length, in random order; sorted within chunks so that data stay fresh."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(encoded))
    chunk = batch * 50
    for start in range(0, len(order), chunk):
        part = sorted(order[start:start + chunk], key=lambda i: len(encoded[i][0]))
        groups = [part[i:i + batch] for i in range(0, len(part), batch)]
        for g in rng.permutation(len(groups)):
            rows = [encoded[i] for i in groups[g]]
            width = max(len(ids) for ids, _ in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            weight = torch.zeros(len(rows), width)
            for r, (tokens, prompt) in enumerate(rows):
                ids[r, :len(tokens)] = torch.tensor(tokens)
                weight[r, 1:prompt] = PROMPT_WEIGHT
                weight[r, prompt:len(tokens)] = 1.0
            yield ids, weight


def losses(model, ids, weight):
    """The weighted mean to train on, and the plain mean over completion tokens."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weight = weight[:, 1:].flatten()
    answer = weight == 1.0
    return (loss * weight).sum() / weight.sum(), loss[answer].mean(), answer.sum().item()


def rate(step, steps, peak):
    """Warm-up over 200 steps, constant, then linear to zero over the last 40%."""
    return peak * min((step + 1) / 200, 1.0, max(steps - step, 0) / (0.4 * steps))


def export(model, tokenizer, out):
    bf16 = LlamaForCausalLM(model.config).to(torch.bfloat16)
    bf16.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    bf16.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
    bf16.save_pretrained(out)
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
                   "model_max_length": 256, "clean_up_tokenization_spaces": False}, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--stop-at", type=int, help="stop after this step of the schedule, to be continued")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)

    rows = read(os.path.join(args.data, "corpus.jsonl"))
    texts = (row["prompt"] + row["completion"] for row in rows[:100_000])
    tokenizer_file = os.path.join(args.out, "tokenizer.json")
    if os.path.exists(tokenizer_file):
        tokenizer = Tokenizer.from_file(tokenizer_file)
    else:
        tokenizer = train_tokenizer([*texts, *held_out_prompts(args.data)])
    encoded = encode(tokenizer, rows)
    check, encoded = encoded[:2000], encoded[2000:]
    print(f"{len(encoded)} sequences, {sum(len(ids) for ids, _ in encoded) / len(encoded):.1f} tokens each, "
          f"vocabulary {tokenizer.get_vocab_size()}", flush=True)

    model = LlamaForCausalLM(config())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), eps=1e-8)
    step, tokens, seconds = 0, 0, 0.0
    state_file = os.path.join(args.out, "state.pt")
    if os.path.exists(state_file):
        state = torch.load(state_file, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, tokens, seconds = state["step"], state["tokens"], state["seconds"]
        print(f"continuing at step {step}", flush=True)

    def save():
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                    "tokens": tokens, "seconds": seconds + time.time() - start}, state_file + ".new")
        os.replace(state_file + ".new", state_file)
        export(model, tokenizer, args.out)

    def checked():
        model.eval()
        with torch.no_grad():
            parts = [losses(model, *batch)[1:] for batch in batches(check, args.batch, 0)]
        model.train()
        return sum(loss.item() * n for loss, n in parts) / sum(n for _, n in parts)

    start, stop = time.time(), args.stop_at or args.steps
    per_epoch = math.ceil(len(encoded) / args.batch)
    stream = None
    with open(os.path.join(args.out, "log.jsonl"), "a", encoding="utf-8") as log:
        while step < stop:
            if stream is None or step % per_epoch == 0:
                stream = batches(encoded, args.batch, args.seed + step // per_epoch)
                for _ in range(step % per_epoch):
                    next(stream)
            ids, weight = next(stream)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, args.steps, args.lr)
            loss, answers, _ = losses(model, ids, weight)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            tokens += int((weight > 0).sum()) + len(ids)
            if step % 100 == 0:
                line = {"step": step, "tokens": tokens, "seconds": round(seconds + time.time() - start, 1),
                        "loss": round(loss.item(), 4), "completion_loss": round(answers.item(), 4)}
                if step % args.save_every == 0 or step == stop:
                    line["held_back_completion_loss"] = round(checked(), 4)
                    save()
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(line, flush=True)
    save()


if __name__ == "__main__":
    main()
