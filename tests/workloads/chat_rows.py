"""Rows of chats in files, loaded as a training loads them."""

import json
from datetime import UTC, datetime

from workloads.lora.data import load_data
from workloads.lora.settings import parse

NOW = datetime(2026, 1, 31, tzinfo=UTC)
PAIRS = [{"prompt": f"ask {i}", "response": f"answer {i}"} for i in range(10)]
WITH_TOOLS = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED = [("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
OPENAI = [{"role": role, "content": said} for role, said in ASKED]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 3}'}}
CALLING = [
    OPENAI[0],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "7"},
    OPENAI[1],
]


def load(tokenizer, path, now=NOW, **training):
    asked = {"model": "m", "dataset": {"path": str(path)}, "training": training}
    return load_data(parse(json.dumps(asked)), tokenizer, now)


def written(path, *found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def prompts_of(tokenizer, **dataset):
    data = load_data(parse(json.dumps({"model": "m", "dataset": dataset})), tokenizer, NOW)
    texts = [tokenizer.decode(example.ids) for example in [*data.train, *data.validation]]
    return sorted(text.partition("user\n")[2].partition("<|im_end|>")[0] for text in texts)
