"""Runs `workloads.lora.train` in processes of their own, which can be watched step by step and killed."""

import hashlib
import importlib
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fixtures.kubeapi_server import eventually

# Fork each run from a server that has imported the slow libraries: a real process, without 5 s of imports.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["workloads.lora.train", "workloads.lora.training", "transformers", "peft", "datasets"]
)
PATIENCE_SECONDS = 300


def tiny(steps: int = 12, **sections: dict[str, Any]) -> dict[str, Any]:
    """A run of about a second; keyword arguments are merged into its sections."""
    settings: dict[str, Any] = {
        "model": "carbonfleet/tiny-qwen2",
        "dataset": {"name": "carbonfleet/tiny-instructions", "samples": 40},
        "lora": {"rank": 4, "alpha": 8},
        "training": {
            "learning_rate": 2e-3,
            "steps": steps,
            "batch_size": 2,
            "sequence_length": 64,
            "validations": 2,
        },
        "checkpoint": {"every_steps": 3},
    }
    return {
        name: {**value, **sections.get(name, {})} if isinstance(value, dict) else value
        for name, value in settings.items()
    }


@dataclass
class Attempt:
    """One process that trains."""

    process: Any
    output: Any
    halts: int = 0
    """How often it still stops by itself."""
    lines: list[str] = field(default_factory=list)
    progress: list[dict[str, Any]] = field(default_factory=list)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Its progress, as it happens."""
        for line in self.output:
            self.lines.append(line)
            if "LORA_PROGRESS " in line:  # Ray puts the name of the worker before it
                self.progress.append(json.loads(line.partition("LORA_PROGRESS ")[2]))
                yield self.progress[-1]

    def reach(self, step: int) -> dict[str, Any]:
        """Wait until it reports `step` or a later one."""
        for progress in self:
            if progress["step"] >= step:
                return progress
        raise AssertionError(f"ended before step {step}: {self.text}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a run that halts does so first, and goes on with it."""
        if self.halts:
            self.halts -= 1
            eventually(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)
        os.kill(self.process.pid, number)
        with suppress(ProcessLookupError):  # where that was its end
            os.kill(self.process.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Read to the end; the exit code, negative for a signal that killed it."""
        for _ in self:
            pass
        self.process.join(PATIENCE_SECONDS)
        assert self.process.exitcode is not None, "it did not end"
        return self.process.exitcode

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def failure(self) -> dict[str, Any]:
        """What it said at its end."""
        [line] = [line for line in self.lines if line.startswith("LORA_FAILURE ")]
        return json.loads(line.removeprefix("LORA_FAILURE "))


def start(
    settings: dict[str, Any] | str,
    output: str | Path,
    attempt: int = 1,
    *,
    halt: tuple[int, ...] = (),
    memory_bytes: int | None = None,
    file_bytes: int | None = None,
    **env: str,
) -> Attempt:
    """Start a run, with a limit to the memory it may take or the size of the files it may write.

    When it has told of a step in `halt` it stops, and awaits a signal however late that comes.
    """
    text = settings if isinstance(settings, str) else json.dumps(settings)
    variables = {
        **os.environ,
        "LORA_CONFIG": text,
        "LORA_OUTPUT": str(output),
        "LORA_ATTEMPT": str(attempt),
        "LORA_REPORT_SECONDS": "0",
        **env,
    }
    started = _spawn(_train, variables, halt, memory_bytes, file_bytes)
    started.halts = len(halt)
    return started


def _spawn(work: Callable[..., None], *arguments: Any) -> Attempt:
    """Do `work` in a process whose output can be read here."""
    reader, writer = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=work, args=(writer, *arguments), daemon=True)
    process.start()
    writer.close()
    return Attempt(process, os.fdopen(os.dup(reader.fileno()), "r"))


def train(settings: dict[str, Any] | str, output: str | Path, attempt: int = 1, **more: Any) -> Attempt:
    """Run to the end; the exit code is in `process.exitcode`."""
    run = start(settings, output, attempt, **more)
    run.wait()
    return run


def _write_to(writer: Any) -> None:
    os.dup2(writer.fileno(), 1)
    os.dup2(writer.fileno(), 2)
    writer.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")


class _Halting(io.TextIOWrapper):
    """An output that stops its process when it has told of certain steps."""

    steps: tuple[int, ...] = ()

    def write(self, text: str) -> int:
        step = json.loads(text.partition(" ")[2])["step"] if text.startswith("LORA_PROGRESS ") else None
        if step not in self.steps:
            return super().write(text)
        self.steps = tuple(each for each in self.steps if each != step)
        written = super().write(f"{text}\n")
        self.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
        return written


def _train(
    writer: Any, variables: dict[str, str], halt: tuple[int, ...], memory_bytes: int | None, file_bytes: int | None
) -> None:
    _write_to(writer)
    if halt:
        sys.stdout = _Halting(sys.stdout.detach())
        sys.stdout.steps = halt
    os.environ.update(variables)
    if memory_bytes is not None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory_bytes, taken + memory_bytes))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    from workloads.lora.train import main

    sys.exit(main([]))


def call(module: str, arguments: list[str], **env: str) -> Attempt:
    """Start another of the workload's commands in a process of its own."""
    return _spawn(_call, module, arguments, {**os.environ, **env})


def evaluate(output: Path) -> int:
    """Evaluate in a process of its own; the exit code."""
    return call("evaluate", [str(output)]).wait()


def likeliest(output: Path, question: str, tokens: int) -> str:
    """The answer that the stored adapter gives, computed with PEFT alone in a process of its own."""
    answering = _spawn(_likeliest, str(output), question, tokens)
    assert answering.wait() == 0, answering.text
    [line] = [line for line in answering.lines if "ANSWER " in line]
    return json.loads(line.partition("ANSWER ")[2])


def _likeliest(writer: Any, output: str, question: str, tokens: int) -> None:
    _write_to(writer)
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)  # more would wait for threads that a forked process doesn't have
    tokenizer = AutoTokenizer.from_pretrained(f"{output}/adapter")
    base = AutoModelForCausalLM.from_pretrained(f"{output}/base")
    model = PeftModel.from_pretrained(base, f"{output}/adapter").eval()
    asked = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    start = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    print("ANSWER", json.dumps(tokenizer.decode(ids[start:], skip_special_tokens=True)), flush=True)


def _call(writer: Any, module: str, arguments: list[str], variables: dict[str, str]) -> None:
    _write_to(writer)
    os.environ.update(variables)
    sys.exit(importlib.import_module(f"workloads.lora.{module}").main(arguments))


def metrics(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics.json").read_text())


def lease(output: Path) -> dict[str, Any]:
    return json.loads((output / "LEASE").read_text())


def newest_step(output: Path) -> int:
    """The newest checkpoint that counts; fails unless every one that counts is whole."""
    saved = lease(output)["checkpoints"]
    for each in saved:
        data = (output / "checkpoints" / f"{each['step']:08d}-{each['sha256']}.pt").read_bytes()
        assert hashlib.sha256(data).hexdigest() == each["sha256"]
    return saved[0]["step"] if saved else 0
