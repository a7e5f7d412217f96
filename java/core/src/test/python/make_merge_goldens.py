"""Makes the golden weights of merged models with PEFT's merge_and_unload.

    python make_merge_goldens.py ../resources/goldens

For some of the cases that make_goldens.py made, CASE/merged.safetensors holds the weights that merging CASE/adapter into
CASE/model changes, in the type of the checkpoint. Made with torch 2.13, transformers 5.17, peft 0.21.
"""

import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

CASES = ["llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16"]

goldens = Path(sys.argv[1])
for case in CASES:
    base = AutoModelForCausalLM.from_pretrained(goldens / case / "model", dtype="auto")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    merged = PeftModel.from_pretrained(base, goldens / case / "adapter").merge_and_unload().state_dict()
    changed = {name: value.contiguous() for name, value in merged.items() if not torch.equal(value, before[name])}
    assert changed and all(value.dtype == before[name].dtype for name, value in changed.items())
    save_file(changed, goldens / case / "merged.safetensors", metadata={"format": "pt"})
    print(case, len(changed), next(iter(changed.values())).dtype)
