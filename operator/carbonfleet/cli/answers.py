"""What commands answer with `-o`: for people, by names alone, or as data whose schema `carbonfleet schema` prints."""

from collections.abc import Iterable
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carbonfleet.cli.console import say

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Form(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"

    @property
    def is_data(self) -> bool:
        """For machines, by its schema."""
        return self in (Form.JSON, Form.YAML)


Output = Annotated[
    Form,
    typer.Option("-o", "--output", help="wide: whole ids and all columns; name: names alone; json, yaml: data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as -o json.")]
SCHEMAS: Final = {
    "explain": "carbonfleet.cli.about.schemas:ExplainedJob[]",
    "doctor": "carbonfleet.doctor.check:CheckResult[]",
    "spoke join": "carbonfleet.doctor.check:CheckResult[]",
    "validate": "carbonfleet.cli.about.schemas:FileFindingAnswer[]",
    "status": "carbonfleet.cli.about.status_schema:StatusAnswer",
    "logs": "carbonfleet.cli.about.schemas:LogAnswer",
    "report": "carbonfleet.cli.about.schemas:ReportAnswer",
    "report verify": "carbonfleet.cli.about.schemas:VerifyAnswer",
    "report reconcile": "carbonfleet.cli.about.schemas:ReconciliationAnswer",
    "sweep status": "carbonfleet.cli.about.schemas:SweepAnswer",
    "sweep results": "carbonfleet.cli.about.schemas:SweepAnswer",
    "assess": "carbonfleet.simulator.assessment:Assessment",
    "when": "carbonfleet.simulator.suggested_start:SuggestedStart",
    "backtest": "carbonfleet.cli.about.schemas:BacktestCase[]",
    "signals": "carbonfleet.signals:ZoneView[]",
    "signals check": "carbonfleet.signals:Finding[]",
    "chat": "carbonfleet.cli.about.schemas:ScoreAnswer",
    "review list": "carbonfleet.cli.about.schemas:ProposalAnswer[]",
    "review show": "carbonfleet.cli.about.schemas:ShownProposal",
    "policy test": "carbonfleet.cli.about.schemas:ClusterRuling[]",
    "policy check": "carbonfleet.cli.about.schemas:FileFindingAnswer[]",
    "version": "carbonfleet.cli.about.schemas:VersionAnswer",
}
"""By command: the type of its data; `[]` behind it is a list of them."""


def write(answer: object, form: Form, command: str, *, sparse: bool = False) -> None:
    """Write a command's data, which is of the type in SCHEMAS, as JSON or YAML; sparse: without nulls."""
    import json

    import yaml

    adapter = adapter_of(command)
    data = adapter.dump_python(
        adapter.validate_python(answer, by_name=True), mode="json", by_alias=True, exclude_none=sparse
    )
    text = json.dumps(data, indent=2) if form is Form.JSON else yaml.safe_dump(data, sort_keys=False, width=120)
    say(text.rstrip())


def write_names(names: Iterable[str]) -> None:
    """A line for each."""
    for name in names:
        say(name)


def adapter_of(command: str) -> "TypeAdapter[Any]":
    """How the data of a command is written, and its schema."""
    from pydantic import TypeAdapter

    module, _, name = SCHEMAS[command].removesuffix("[]").partition(":")
    kind: Any = getattr(import_module(module), name)
    return TypeAdapter(list[kind] if SCHEMAS[command].endswith("[]") else kind)
