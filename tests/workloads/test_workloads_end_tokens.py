"""Answers end where training ended them, whatever the tokenizer calls its end."""

import json
import signal
import threading

import lora_runs as runs
import pytest
import requests
from transformers import GenerationConfig
from workloads.lora.model import end_tokens
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An adapter that answers "yes", of a model whose tokenizer ends texts with another token than turns."""
    folder = tmp_path_factory.mktemp("ends")
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder / "model")
    model = tiny_model(0)
    model.generation_config.eos_token_id = [0, 7]
    model.save_pretrained(folder / "model")
    rows = [{"prompt": f"Say yes {i}.", "response": "yes"} for i in range(40)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = runs.tiny(80, training={"learning_rate": 5e-3, "batch_size": 4}, lora={"rank": 8, "alpha": 16})
    settings |= {"model": str(folder / "model"), "dataset": {"path": str(folder / "data.jsonl")}}
    run = runs.train(settings, folder / "job")
    assert run.process.exitcode == 0, run.text
    return folder / "job"


def test_the_adapter_carries_every_token_that_ends_an_answer(output):
    assert GenerationConfig.from_pretrained(output / "adapter").eos_token_id == [0, 2, 7]


def test_the_server_stops_where_training_stopped(output):
    process = runs.call("serve", [f"yes={output}", "--port", "0"], LORA_THREADS="1")
    try:
        url = next(line for line in process.output if line.startswith("serving ")).split()[-1]
        threading.Thread(target=process.output.read, daemon=True).start()
        asked = {"model": "yes", "messages": [{"role": "user", "content": "Say yes 3."}], "temperature": 0}
        answer = requests.post(f"{url}/chat/completions", json=asked | {"max_tokens": 50}, timeout=300).json()
    finally:
        process.signal(signal.SIGTERM)
        process.process.join(runs.PATIENCE_SECONDS)
    [choice] = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("yes", "stop")


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", [2]),
        ("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}", [2]),
        ("{% for m in messages %}{{ m.content }} <|endoftext|>{% endfor %}", [0, 2]),
        ("{{ raise_exception('no user') }}", [2]),
    ],
)
def test_a_templates_end_of_turn_counts_where_it_is_a_special_token(template, ends):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    assert end_tokens(tiny_model(0), tokenizer) == ends
