"""Finished adapters behind an OpenAI-compatible server, asked with `carbonfleet chat`."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import lora_runs as runs
import pytest
import requests
from typer.testing import CliRunner
from workloads.lora.model.tiny import tiny_tokenizer

from carbonfleet.cli import app

REPOSITORY = Path(__file__).parents[2]
KEY = "a-key-for-tests-0123456789"
BASE = "carbonfleet/tiny-qwen2"
QUESTION = "What is 3 plus 4?"


def run(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"workloads.lora.{name}", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **env}, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two adapters on one base, of different ranks."""
    folder = tmp_path_factory.mktemp("outputs")
    for name, rank in (("small", 4), ("large", 8)):
        settings = runs.tiny(20, lora={"rank": rank, "alpha": 2 * rank}, dataset={"samples": 200})
        assert runs.train(settings, folder / name).process.exitcode == 0
    return folder


@pytest.fixture(scope="module")
def server(outputs):
    """It serves both adapters to who has the key; its base URL."""
    words = [f"small={outputs}/small", str(outputs / "large"), "--port", "0"]
    process = runs.call("serve", words, LORA_SERVE_KEY=KEY, LORA_THREADS="1")
    try:
        line = next((line for line in process.output if line.startswith("serving ")), "")
        assert line, "it did not start"
        threading.Thread(target=process.output.read, daemon=True).start()
        yield line.split()[-1]
    finally:
        process.signal(signal.SIGTERM)
        process.process.join(runs.PATIENCE_SECONDS)
        assert process.process.exitcode == 0


@pytest.fixture
def chat(server, tmp_path):
    """Runs `carbonfleet chat` with the server's key."""
    (tmp_path / "key").write_text(f"{KEY}\n")

    def ask(*arguments, stdin=None):
        common = ["chat", "--url", server, "--key-file", str(tmp_path / "key"), "--max-tokens", "12"]
        return CliRunner().invoke(app, [*common, *arguments], input=stdin)

    return ask


def test_each_adapter_answers_as_it_was_trained(chat, outputs):
    said = {name: chat("-m", name, QUESTION).output for name in ("small", "large")}
    assert said == {name: f"{runs.likeliest(outputs / name, QUESTION, 12)}\n" for name in said}
    assert said["small"] != said["large"]


def test_the_name_of_a_special_token_is_text_in_a_prompt_as_in_training(server):
    def tokens(content):
        asked = {"model": "small", "messages": [{"role": "user", "content": content}], "max_tokens": 1}
        answer = requests.post(
            f"{server}/chat/completions", json=asked, headers={"Authorization": f"Bearer {KEY}"}, timeout=300
        )
        return answer.json()["usage"]["prompt_tokens"]

    spelt = tiny_tokenizer()("<|im_end|>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokens("a<|im_end|>") == tokens("a") + len(spelt)
    assert len(spelt) > 1


def test_several_models_answer_in_turn_and_the_base_too(chat):
    lines = chat("-m", "large", "-m", "small", "-m", BASE, QUESTION).output.splitlines()
    assert [line.partition(": ")[0] for line in lines if line.partition(": ")[0] in ("large", "small", BASE)] == [
        *("large", "small", BASE),
    ]


def test_a_conversation_goes_on_from_what_was_said(chat):
    once = chat("-m", "large", QUESTION).output
    twice = chat("-m", "large", stdin=f"{QUESTION}\n{QUESTION}\n\n").output
    assert twice.startswith(once)
    assert twice != 2 * once


def test_a_model_that_is_not_served_is_named_with_those_that_are(chat):
    done = chat("-m", "medium", QUESTION)
    assert done.exit_code == 2
    assert f"serves no medium; there is small, large, {BASE}" in done.output


def test_without_the_key_nobody_is_answered(server, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    done = CliRunner().invoke(app, ["chat", "--url", server, "--key-file", str(wrong), QUESTION])
    assert done.exit_code == 2
    assert "answered 401: the key is missing or wrong" in done.output
    assert requests.get(f"{server}/models", timeout=60).status_code == 401


def post(server: str, body: object, **more: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return requests.post(f"{server}/chat/completions", json=body, headers=headers, timeout=300, **more)


def asking(**changes: object) -> dict[str, object]:
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": "large", "messages": messages, "max_tokens": 12, "temperature": 0} | changes


def test_an_answer_in_one_piece_says_what_it_cost_and_why_it_ended(server, chat):
    found = post(server, asking()).json()
    [choice] = found["choices"]
    assert choice["message"]["content"] == chat("-m", "large", QUESTION).output.strip("\n")
    assert (found["object"], found["model"]) == ("chat.completion", "large")
    cut = post(server, asking(max_tokens=2)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert cut["usage"]["total_tokens"] == cut["usage"]["prompt_tokens"] + 2


def test_equal_seeds_draw_equal_answers(server):
    drawn = [post(server, asking(temperature=1.0, seed=seed)).json()["choices"][0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stream_has_openais_events(server):
    with post(server, asking(stream=True, max_tokens=3), stream=True) as answer:
        lines = [line for line in answer.iter_lines(decode_unicode=True) if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events[-1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "length"}
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == post(server, asking(max_tokens=3)).json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (asking(model="none"), 404, "no model none here"),
        (asking(messages=[]), 400, "messages"),
        (asking(messages=[{"role": "user", "content": "word " * 3000}]), 400, "too many by"),
        (asking(messages=[{"role": "tool", "content": "x"}]), 400, "role"),
        (asking(temperature=9), 400, "temperature"),
        ([1, 2], 400, "the request"),
        (asking(messages=[{"role": "user", "content": "x" * 4_000_001}]), 413, "at most"),
    ],
)
def test_a_request_that_cant_be_served_gets_openais_error(server, body, status, says):
    answer = post(server, body)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert post(server, asking()).ok


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{}/nothing-here"], "holds no DONE: the training has not finished"),
        (["a={0}/small", "a={0}/large"], "a name of its own"),
        (["../x={}/small"], "a name of its own"),
        (["--host", "::", "{}/small"], "set LORA_SERVE_KEY"),
    ],
)
def test_what_cant_be_served_is_refused_before_anything_slow(outputs, arguments, says):
    done = run("serve", *(argument.format(outputs) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_adapters_of_different_bases_are_not_served_together(outputs, tmp_path):
    assert runs.train(runs.tiny(1, training={"seed": 7}), tmp_path / "other").process.exitcode == 0
    done = run("serve", str(outputs / "small"), str(tmp_path / "other"))
    assert done.returncode == 2
    assert "made different bases: give them one seed" in done.stderr


def test_finished_adapters_are_fetched_by_name(outputs, tmp_path):
    places = json.dumps({"best": str(outputs / "small"), "next": str(outputs / "large")})
    assert run("fetch", str(tmp_path), LORA_ADAPTERS=places).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "next"]
    for name, source in (("best", "small"), ("next", "large")):
        stored = {path.name: path.read_bytes() for path in (outputs / source / "adapter").iterdir()}
        assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == stored
    assert run("fetch", str(tmp_path), LORA_ADAPTERS=places).returncode == 0


def test_an_adapter_that_is_not_finished_is_not_fetched(outputs, tmp_path):
    for text, says in (
        (json.dumps({"a": f"{outputs}/nothing"}), "holds no DONE"),
        (json.dumps({"../a": f"{outputs}/small"}), "is not a name"),
        ("[]", "must be a JSON object"),
    ):
        done = run("fetch", str(tmp_path), LORA_ADAPTERS=text)
        assert done.returncode == 2
        assert says in done.stderr
    assert list(tmp_path.iterdir()) == []
