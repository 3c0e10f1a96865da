"""What a check finds, and how checks are made one after another without one hiding the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Generic, TypeVar

from carbonfleet.faults import said
from carbonfleet.private_files import why_not_writable
from carbonfleet.text import masked

Context = TypeVar("Context")
Value = TypeVar("Value")


class CheckState(StrEnum):
    """What is known of one thing that must be there."""

    OK = "ok"
    MISSING = "missing"
    """It is not there, or not as it must be."""
    UNKNOWN = "unknown"
    """It could not be asked for."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of what was found."""

    name: str
    """What was looked at: `git push`."""
    state: CheckState
    message: str
    """What is so, in a sentence."""
    advice: str = ""
    """What a person can do; empty where all is well."""


Check = Callable[[Context], Iterable[CheckResult]]
"""Yields a result for each thing that it looks at."""


def ok(name: str, message: str) -> CheckResult:
    """A thing that is as it must be."""
    return CheckResult(name, CheckState.OK, message)


def missing(name: str, message: str, advice: str) -> CheckResult:
    """A thing that is not."""
    return CheckResult(name, CheckState.MISSING, message, advice)


def unknown(name: str, message: str, advice: str) -> CheckResult:
    """A thing that could not be looked at."""
    return CheckResult(name, CheckState.UNKNOWN, message, advice)


def folder_is_writable(name: str, folder: Path, option: str) -> CheckResult:
    """Whether a folder can be written, or made."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if why := why_not_writable(existing):
        advice = f"make {folder} a folder on a disk with room that is ours to write ({option})"
        return missing(name, f"{existing} can't be written: {why}", advice)
    return ok(name, f"{folder} can be written")


_ASK_AGAIN: Final = "mend what is missing first, then ask again"


def examine(checks: Mapping[str, Check[Context]], context: Context) -> Iterator[CheckResult]:
    """The results of all checks in their order; one that fails is unknown, with what it had found before."""
    for name, check in checks.items():
        try:
            for found in check(context):
                yield replace(found, message=masked(found.message), advice=masked(found.advice))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
            yield unknown(name, f"it can't be told: {masked(said(error))}", _ASK_AGAIN)


class Once(Generic[Value]):
    """A value that several checks need and that is got once, or the error that each of them then meets."""

    def __init__(self, get: Callable[[], Value]) -> None:
        self._get = get
        self._found: Value | None = None
        self._error: Exception | None = None
        self._is_known = False

    def __call__(self) -> Value:
        """The value. Raises what getting it raised."""
        if not self._is_known:
            try:
                self._found = self._get()
            except Exception as error:  # noqa: BLE001 - raised below, each time anew
                self._error = error
            self._is_known = True
        if self._error is not None:
            raise self._error
        return self._found  # type: ignore[return-value]  # known where there is no error
