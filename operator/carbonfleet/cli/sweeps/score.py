"""`carbonfleet chat --score`: what served adapters make of a file of prompts, and their place on the leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING

from carbonfleet.cli.answers import Form, write, write_names
from carbonfleet.cli.console import console, fail, say

if TYPE_CHECKING:
    from rich.table import Table

    from carbonfleet.cli.about.schemas import ScoreAnswer
    from carbonfleet.sweep import ChatEndpoint
    from carbonfleet.sweep.scoring import ModelScore, PromptSuite


def read_prompts(file: Path, *, allow_code: bool) -> "PromptSuite":
    """The prompts of a file; ends the command where they can't be asked."""
    from carbonfleet.sweep import SweepError
    from carbonfleet.sweep.scoring import read_suite
    from carbonfleet.yaml_reader import FileInvalid

    try:
        suite = read_suite(file)
    except FileInvalid as error:
        fail("\n".join(map(str, error.problems)))
    except SweepError as error:
        fail(error)
    if suite.has_code and not allow_code:
        fail(f"{file} runs what models write: allow that with --allow-code, which runs it isolated")
    return suite


def score_models(
    endpoint: "ChatEndpoint", models: "list[str]", suite: "PromptSuite", max_tokens: int
) -> "list[ModelScore]":
    """Each model's score, the best first. Raises SweepError."""
    from carbonfleet.sweep.scoring import ask_all

    def told(one: "ModelScore") -> None:
        say(f"{one.model}: {one.passed} of {len(one.answers)}", err=True)

    return sorted(ask_all(endpoint, models, suite, max_tokens, told), key=lambda one: (-one.share, one.model))


def record_scores(
    scores: "list[ModelScore]", suite: "PromptSuite", sweep: str, kubeconfig: Path | None, space: str
) -> None:
    """Keep the scores at the sweep's jobs, whose names the adapters bear."""
    from datetime import UTC, datetime

    from carbonfleet.cli.sweeps.sweep import hub_jobs
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.sweep import scoring

    jobs = hub_jobs(sweep, kubeconfig, space)
    try:
        kept = scoring.record_scores(Kube.connect(kubeconfig), jobs, suite, scores, datetime.now(UTC))
    except KubeError as error:
        fail(error)
    if not kept:
        fail(f"no job of sweep {sweep} is called like one of these models, so no score is kept")
    say(f"kept at {len(kept)} jobs of sweep {sweep}; next: carbonfleet sweep results {sweep}", err=True)


def show_scores(scores: "list[ModelScore]", suite: "PromptSuite", form: Form) -> None:
    """Print the scores."""
    if form.is_data:
        write(_answer(scores, suite), form, "chat")
        return
    if form is Form.NAME:
        write_names(one.model for one in scores)
        return
    screen = console()
    for table in (_models_table(scores), _prompts_table(scores)):
        screen.print(table)
        screen.print()
    say("+ every check holds, - one does not; the prompts have their numbers below")


def _answer(scores: "list[ModelScore]", suite: "PromptSuite") -> "ScoreAnswer":
    from carbonfleet.cli.about.schemas import ModelScoreAnswer, ScoreAnswer

    models = tuple(
        ModelScoreAnswer(model=one.model, score=round(one.share, 4), passed=one.passed, answers=one.answers)
        for one in scores
    )
    return ScoreAnswer(suite=suite.name, digest=suite.digest, models=models)


def _models_table(scores: "list[ModelScore]") -> "Table":
    from rich.table import Table

    table = Table(box=None)
    table.add_column("model", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("".join(str(number % 10) for number in range(1, len(scores[0].answers) + 1)), overflow="fold")
    for one in scores:
        marks = "".join("-" if answer.fault else "+" for answer in one.answers)
        table.add_row(one.model, f"{one.share:.0%}", marks)
    return table


def _prompts_table(scores: "list[ModelScore]") -> "Table":
    from rich.table import Table

    table = Table("", "prompt", "passed", "otherwise, such as", box=None)
    for number, answers in enumerate(zip(*(one.answers for one in scores), strict=True), 1):
        failed = [(one.model, answer.fault) for one, answer in zip(scores, answers, strict=True) if answer.fault]
        passed = f"{len(scores) - len(failed)} of {len(scores)}"
        table.add_row(str(number), answers[0].prompt, passed, " ".join(failed[0]) if failed else "")
    return table
