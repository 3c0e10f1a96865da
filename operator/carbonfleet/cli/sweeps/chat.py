"""`carbonfleet chat`: ask the adapters that are served, one after the other."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import AsJson, Form, Output
from carbonfleet.cli.console import fail, say
from carbonfleet.cli.sweeps.score import read_prompts, record_scores, score_models, show_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import SecretStr

    from carbonfleet.sweep import ChatEndpoint

KEY_VARIABLE = "CARBONFLEET_CHAT_KEY"


def chat(
    question: Annotated[list[str] | None, typer.Argument(help="One question; without, a conversation.")] = None,
    url: Annotated[str, typer.Option(envvar="CARBONFLEET_CHAT_URL", help="The endpoint.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[
        list[str] | None, typer.Option("-m", "--model", help="An adapter by name; several answer in turn.")
    ] = None,
    system: Annotated[str, typer.Option(help="What the model is told first.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 gives the likeliest answer.")] = 0.0,
    key_file: Annotated[Path | None, typer.Option(help=f"The endpoint's key; or ${KEY_VARIABLE}.")] = None,
    score: Annotated[
        Path | None, typer.Option(help="Ask the prompts of this file, of all models if none is named, and check.")
    ] = None,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Run what models write, isolated.")] = False,
    sweep: Annotated[str, typer.Option(help="Keep the scores at this sweep's jobs, for its leaderboard.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The namespace of its jobs.")] = "",
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API, for --sweep.")] = None,
    output: Output = Form.TEXT,
    as_json: AsJson = False,
) -> None:
    """Chat with served adapters through any OpenAI-compatible endpoint, or score them by a file of prompts."""
    from carbonfleet.sweep import ChatEndpoint, SweepError

    form = Form.JSON if as_json else output
    if score is None and (allow_code or sweep or form is not Form.TEXT):
        fail("--allow-code, --sweep, -o and --json are of --score FILE")
    if score is not None and (question or system or temperature):
        fail("--score asks what its file says, at temperature 0: leave question, --system and --temperature away")
    suite = read_prompts(score, allow_code=allow_code) if score else None
    try:
        endpoint = ChatEndpoint(url, _key(key_file))
        served = endpoint.models()
        names = list(model or (served if suite else served[:1]))
        if unknown := [name for name in names if name not in served]:
            fail(f"{url} serves no {unknown[0]}; there is {', '.join(served) or 'nothing'}")
        if suite is not None:
            scores = score_models(endpoint, names, suite, max_tokens)
            show_scores(scores, suite, form)
            if sweep:
                record_scores(scores, suite, sweep, kubeconfig, namespace)
            return
        told = [{"role": "system", "content": system}] if system else []
        histories = {name: list(told) for name in names}
        options = {"max_tokens": max_tokens, "temperature": temperature}
        for asked in [" ".join(question)] if question else _lines(names):
            for name, history in histories.items():
                _turn(endpoint, name, history, asked, options, titled=len(histories) > 1)
    except (SweepError, OSError) as error:
        fail(error)


def _turn(
    endpoint: "ChatEndpoint",
    name: str,
    history: list[dict[str, str]],
    asked: str,
    options: dict[str, float],
    *,
    titled: bool,
) -> None:
    """One question to one model, printed as it answers and kept in its history."""
    if titled:
        say(f"{name}: ", nl=False)
    history.append({"role": "user", "content": asked})
    pieces = []
    for piece in endpoint.chat(name, history, **options):
        pieces.append(piece)
        say(piece, nl=False)
    say("")
    history.append({"role": "assistant", "content": "".join(pieces)})


def _lines(names: "list[str] | tuple[str, ...]") -> "Iterator[str]":
    """What a person types, line by line, until Ctrl-D."""
    if sys.stdin.isatty():
        say(f"chatting with {', '.join(names)}; an empty line or Ctrl-D ends it", err=True)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not line:
            return
        yield line


def _key(file: Path | None) -> "SecretStr | None":
    import os

    from pydantic import SecretStr

    text = file.read_text(encoding="utf-8").strip() if file else os.environ.get(KEY_VARIABLE, "")
    return SecretStr(text) if text else None
