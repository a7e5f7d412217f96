"""Writes mask_goldens.json: token ids of conversations and which of them the assistant said, by transformers.

    python make_mask_goldens.py        (transformers 5.17)

transformers finds the assistant's tokens by {% generation %} tags. They are put into the templates of make_chat_goldens.py here:
from what the generation prompt ends with to the end-of-turn token. The ids are those of the templates without the tags.
"""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import make_chat_goldens as chat

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]",
           "<think>", "</think>"]
TEXT = ["The answer is 4. Is it? What is 2 + 2? Hello there, naïve 日本 😀!\n\n", "system user assistant You are a helpful assistant.\n",
        "thinking about the question again and again, then done\n"] * 20

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def tag(template, *changes):
    for old, new in changes:
        assert template.count(old) == 1, old
        template = template.replace(old, new)
    return template


def chatml(template):
    return tag(template, (
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"))


LLAMA3 = tag(
    chat.LLAMA3,
    ("{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}",
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' %}"),
    ("{{ content }}{% endfor %}",
     "{{ content }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim + '<|eot_id|>' }}{% endgeneration %}"
     "{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"))

LLAMA31 = tag(
    chat.LLAMA31,
    ("{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}",
     "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}{%- if message.role == 'assistant' %}{%- generation %}"
     "{{- message['content'] | trim + '<|eot_id|>' }}{%- endgeneration %}{%- else %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endif %}"))

QWEN25 = tag(
    chat.QWEN25,
    ("{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}",
     "{{- '<|im_start|>' + message.role + '\\n' }}{%- if message.role == 'assistant' %}{%- generation %}"
     "{{- message.content + '<|im_end|>' }}{%- endgeneration %}{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}{{- '\\n' }}"))

# Without thinking the empty thoughts are part of the generation prompt.
QWEN3 = tag(
    chat.QWEN3,
    ("{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}",
     "{%- set thoughts = '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' %}{{- '<|im_start|>' + message.role + '\\n' }}"
     "{%- if enable_thinking is defined and enable_thinking is false %}{{- thoughts }}{%- generation %}{{- content.lstrip('\\n') + '<|im_end|>' }}"
     "{%- endgeneration %}{%- else %}{%- generation %}{{- thoughts + content.lstrip('\\n') + '<|im_end|>' }}{%- endgeneration %}{%- endif %}"),
    ("            {%- else %}\n                {{- '<|im_start|>' + message.role + '\\n' + content }}",
     "            {%- else %}\n                {{- '<|im_start|>' + message.role + '\\n' }}{%- generation %}{{- content + '<|im_end|>' }}{%- endgeneration %}"),
    ("        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content }}",
     "        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' }}{%- generation %}{{- content + '<|im_end|>' }}{%- endgeneration %}"),
    ("        {{- '<|im_end|>\\n' }}\n    {%- endif %}", "        {{- '\\n' }}\n    {%- endif %}"))

MISTRAL = tag(
    chat.MISTRAL,
    ("{{- \" \" + message[\"content\"]|trim + eos_token }}",
     "{%- generation %}{{- \" \" + message[\"content\"]|trim + eos_token }}{%- endgeneration %}"))

FAMILIES = dict(chatml=(CHATML, chatml(CHATML)), smollm2=(chat.SMOLLM2, chatml(chat.SMOLLM2)), llama3=(chat.LLAMA3, LLAMA3),
                llama31=(chat.LLAMA31, LLAMA31), qwen25=(chat.QWEN25, QWEN25), qwen3=(chat.QWEN3, QWEN3), mistral=(chat.MISTRAL, MISTRAL))

USER, ASSISTANT, SYSTEM = chat.USER, chat.ASSISTANT, chat.SYSTEM
CONVERSATIONS = [
    [USER("What is 2 + 2?"), ASSISTANT("4")],
    [SYSTEM("You are brief."), USER("Hello 😀"), ASSISTANT("Hello, naïve 日本 😀")],
    [USER("What is 2 + 2?"), ASSISTANT("The answer is 4."), USER("Is it?"), ASSISTANT("It is.")],
    [SYSTEM("You are a helpful assistant."), USER("assistant"), ASSISTANT("assistant"), USER("end"), ASSISTANT("im_end"), USER("user\n"),
     ASSISTANT("<b>user</b>\n\nassistant 😀")],
    [USER("again"), ASSISTANT("again"), USER("again"), ASSISTANT("again"), USER("again"), ASSISTANT("again"), USER("and again?")],
]
THOUGHTS = [USER("What is 2 + 2?"), ASSISTANT("<think>\nthinking\n</think>\n\n4"), USER("Is it?"), ASSISTANT("<think>\nagain 4\n</think>\n\nIt is.")]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=380, special_tokens=SPECIAL,
                                                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def metaspace():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL + [f"<0x{b:02X}>" for b in range(256)],
                                                            show_progress=False))
    return tokenizer


def main():
    cases = []
    tokenizers = dict(bytes=byte_level(), metaspace=metaspace())
    for kind, backend in tokenizers.items():
        for family, (stock, tagged) in FAMILIES.items():
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
            for messages in CONVERSATIONS + ([THOUGHTS] if family == "qwen3" else []):
                for thinking in (True, False) if family == "qwen3" and messages is not THOUGHTS else (True,):
                    variables = {} if thinking else dict(enable_thinking=False)
                    marked = tokenizer.apply_chat_template(messages, chat_template=tagged, tokenize=True, return_dict=True,
                                                           return_assistant_tokens_mask=True, **variables)
                    plain = tokenizer.apply_chat_template(messages, chat_template=stock, tokenize=True, return_dict=True, **variables)
                    assert marked["input_ids"] == plain["input_ids"], (family, messages)
                    cases.append(dict(family=family, tokenizer=kind, thinking=thinking, messages=messages, ids=plain["input_ids"],
                                      mask="".join(map(str, marked["assistant_masks"]))))
    out = dict(templates={name: stock for name, (stock, _) in FAMILIES.items()}, bos_token="<s>", eos_token="</s>", cases=cases)
    folder = pathlib.Path(__file__).parent
    lines = json.dumps({**out, "cases": []}, ensure_ascii=False)[:-len("[]}")] + "[\n"
    lines += ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "]}\n"
    (folder / "mask_goldens.json").write_text(lines, encoding="utf-8")
    for kind, backend in tokenizers.items():
        (folder / f"mask_tokenizer_{kind}.json").write_text(json.dumps(json.loads(backend.to_str()), ensure_ascii=False) + "\n", encoding="utf-8")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
