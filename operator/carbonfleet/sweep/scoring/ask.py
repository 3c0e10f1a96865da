"""Asks models the prompts of a file, and judges their answers."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from carbonfleet.sweep.endpoint import ChatEndpoint
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.scoring.sandbox import run_isolated
from carbonfleet.sweep.scoring.suite import PromptSuite, ScoredPrompt

MOST_CHARACTERS: Final = 200_000
"""Of an answer."""
_ANSWER_SECONDS: Final = 600.0
_TRIES: Final = 3
_REGEX_SECONDS: Final = 5
_SEARCH: Final = (
    "import json, re, sys; e, t = json.load(sys.stdin); print(json.dumps([bool(re.search(x, t)) for x in e]))"
)
_FENCE: Final = re.compile(r" {0,3}```+[ \t]*(\S*)")
_PYTHON: Final = frozenset({"", "py", "python", "python3"})


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, and what is wrong with it; empty when every check holds."""

    prompt: str
    answer: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ModelScore:
    """What one model answered, in the prompts' order."""

    model: str
    answers: tuple[Answered, ...]

    @property
    def passed(self) -> int:
        """Answers in which every check holds."""
        return sum(not one.fault for one in self.answers)

    @property
    def share(self) -> float:
        """Of all answers, from 0 to 1."""
        return self.passed / len(self.answers)


def ask_all(
    endpoint: ChatEndpoint,
    models: Sequence[str],
    suite: PromptSuite,
    max_tokens: int,
    told: Callable[[ModelScore], None] = lambda _: None,
) -> tuple[ModelScore, ...]:
    """Ask each model every prompt, each in a chat of its own, at temperature 0; `told` hears of each model's end.

    Answers that hold code are run where the suite says so, so that the caller must have been allowed that.
    Raises SweepError where an endpoint goes on failing, or code can't be isolated.
    """
    if suite.has_code:
        run_isolated("", "")
    scores = []
    for model in models:
        answers = tuple(_answered(endpoint, model, prompt, max_tokens) for prompt in suite.prompts)
        scores.append(ModelScore(model, answers))
        told(scores[-1])
    return tuple(scores)


def _answered(endpoint: ChatEndpoint, model: str, prompt: ScoredPrompt, max_tokens: int) -> Answered:
    answer = _answer(endpoint, model, prompt, max_tokens)
    return Answered(prompt.name, answer, next(faults(prompt, answer), ""))


def _answer(endpoint: ChatEndpoint, model: str, prompt: ScoredPrompt, max_tokens: int) -> str:
    said = [{"role": "system", "content": prompt.system}] if prompt.system else []
    said.append({"role": "user", "content": prompt.prompt})
    for attempt in range(_TRIES):
        try:
            return _whole(endpoint.chat(model, said, max_tokens=max_tokens, temperature=0.0))
        except SweepError as error:
            if attempt + 1 == _TRIES:
                raise SweepError(f"{model} could not be asked {prompt.name}: {error}") from error
            time.sleep(random.uniform(0.5, 1.0) * 2**attempt)  # noqa: S311 - jitter is no secret
    raise AssertionError("the loop returns or raises")


def _whole(pieces: Iterator[str]) -> str:
    until, found, size = time.monotonic() + _ANSWER_SECONDS, [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > MOST_CHARACTERS or time.monotonic() > until:
            raise SweepError(f"an answer is longer than {MOST_CHARACTERS} characters or {_ANSWER_SECONDS:.0f} s")
    return "".join(found)


def faults(prompt: ScoredPrompt, answer: str) -> Iterator[str]:
    """What is wrong with an answer, a sentence for each check that does not hold. Raises SweepError."""
    if prompt.exact is not None and answer.strip() != prompt.exact.strip():
        yield f"is not {_brief(prompt.exact)}"
    for text in prompt.contains:
        if text not in answer:
            yield f"does not contain {_brief(text)}"
    if prompt.regex:
        yield from _unfound(prompt.regex, answer)
    if prompt.code is not None:
        ran = run_isolated(code_in(answer), prompt.code)
        if not ran.ended_well:
            yield f"its code: {ran.last_words}"


def code_in(answer: str) -> str:
    """The Python in the fences of an answer, or all of one that has no fence."""
    found: list[str] = []
    language: str | None = None
    has_fence = False
    for line in answer.splitlines():
        if fence := _FENCE.match(line):
            has_fence = True
            language = fence[1].lower() if language is None else None
        elif language in _PYTHON:
            found.append(line)
    return "\n".join(found) if has_fence else answer


def _unfound(expressions: Sequence[str], answer: str) -> Iterator[str]:
    """Searched for in a process of its own, since an expression may take for ever on some text."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([expressions, answer]),
            capture_output=True,
            text=True,
            timeout=_REGEX_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        yield f"a regular expression was searched for longer than {_REGEX_SECONDS} s"
        return
    except subprocess.CalledProcessError as error:
        yield f"a regular expression could not be searched for: {error.stderr.strip().splitlines()[-1:]}"
        return
    for expression, is_found in zip(expressions, json.loads(done.stdout), strict=True):
        if not is_found:
            yield f"does not match {_brief(expression)}"


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return f"'{line}'" if len(line) <= 40 else f"'{line[:40]}...'"
