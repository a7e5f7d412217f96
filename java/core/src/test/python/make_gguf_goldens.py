"""Makes the golden GGUF adapters with llama.cpp's own convert_lora_to_gguf.py.

    python make_gguf_goldens.py LLAMA_CPP ../resources/goldens

LLAMA_CPP is a checkout of https://github.com/ggml-org/llama.cpp; made with its release v0.5.0. For each case of LoRA that
make_goldens.py made, CASE/adapter.gguf is what the converter writes for CASE/adapter. The converter names a file's adapter by
the folder it reads, here "Adapter". It passes lora_alpha on as it is, and llama.cpp scales by alpha / r: of an adapter with
rsLoRA it is therefore given alpha * sqrt(r).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = ["llama", "llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16", "qwen3"]

converter, goldens = Path(sys.argv[1]) / "convert_lora_to_gguf.py", Path(sys.argv[2])
for case in CASES:
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "Adapter"
        shutil.copytree(goldens / case / "adapter", adapter)
        file = adapter / "adapter_config.json"
        config = json.loads(file.read_text())
        if config["use_rslora"]:
            config |= {"use_rslora": False, "lora_alpha": config["lora_alpha"] * config["r"] ** 0.5}
            file.write_text(json.dumps(config))
        subprocess.run([sys.executable, converter, "--base", goldens / case / "model", "--outfile",
                        goldens / case / "adapter.gguf", adapter], check=True)
