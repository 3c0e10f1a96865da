"""Answers end where training ended them, whatever the tokenizer calls its end."""

import json
import signal
import threading

import lora_runs as runs
import pytest
import requests
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast
from workloads.lora.failure import Failure
from workloads.lora.model import end_tokens, expect_answers_end, load_base
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


def test_a_template_that_ends_no_answer_is_refused(tmp_path):
    """What it teaches would never stop."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    tiny_model(0).save_pretrained(tmp_path / "model")
    run = runs.train({**runs.tiny(), "model": str(tmp_path / "model")}, tmp_path / "job")
    assert (run.process.exitcode, run.failure["reason"]) == (10, "UnknownModel")
    assert (
        "ends an answer with no token to stop at. Let its chat template write the eos_token" in run.failure["message"]
    )


def test_a_model_without_a_template_ends_turns_with_its_own_end(tmp_path):
    """Where ChatML's token is no token of its, but text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator([], trainers.BpeTrainer(special_tokens=["</s>"], initial_alphabet=alphabet))
    PreTrainedTokenizerFast(tokenizer_object=trained, eos_token="</s>").save_pretrained(tmp_path)
    tiny_model(0).save_pretrained(tmp_path)
    model, tokenizer = load_base(str(tmp_path), 0, torch.device("cpu"))
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = "<|im_start|>user\na</s>\n<|im_start|>assistant\nb</s>\n"
    assert tokenizer.apply_chat_template(said, tokenize=False) == text
    expect_answers_end(model, tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "<|im_end|>")
    with pytest.raises(Failure, match="no token to stop at"):
        expect_answers_end(model, tokenizer)
