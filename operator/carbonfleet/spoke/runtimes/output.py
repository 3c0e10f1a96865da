"""What a training leaves where it saves: how far it is, its last checkpoint, its energy, why it failed."""

import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from carbonfleet.api.report import Checkpoint, Energy, EnergyMethod, PowerSample, Progress, RunLog, Validation
from carbonfleet.api.workload import MOST_VALIDATIONS, SPOKE_STORE
from carbonfleet.clock import Clock
from carbonfleet.spoke.runtimes.energy import thinned
from carbonfleet.text import masked

PROGRESS: Final = "progress.json"
METRICS: Final = "metrics.json"
DONE: Final = "DONE"
LEASE: Final = "LEASE"
LOG: Final = "logs/attempt-{}.txt"
"""The last of what an attempt printed."""
_MOST_BYTES: Final = 1_000_000
_S3: Final = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}}
"""The agent has other things to do than to wait for a store."""
MOST_STEPS: Final = 1 << 53
"""Whole numbers that every reader of JSON holds exactly."""
_PROGRESS_LINE = re.compile(r"LORA_PROGRESS (\{.*\})\s*$", re.MULTILINE)
_FAILURE = re.compile(r"LORA_FAILURE (\{.*\})\s*$", re.MULTILINE)
_FOR_MACHINES = re.compile(r"LORA_(PROGRESS|FAILURE) \{")
_TAIL_LINES: Final = 20
_TAIL_CHARACTERS: Final = 1000

Found = TypeVar("Found")
Read = Callable[[str], bytes | None]
"""A file of the output by name; None where there is none, or where this machine can't see it."""


class _Saved(BaseModel):
    """A checkpoint as the training records it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    step: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Lease(BaseModel):
    """The part of the lease that we read; newest checkpoint first."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    checkpoints: tuple[_Saved, ...] = ()


def _or_none(value: Any, read: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    """A figure that is none costs itself, not the others beside it."""
    try:
        return read(value)
    except ValidationError:
        return None


_ODD_IS_NONE = WrapValidator(_or_none)
_Figure = Annotated[float | None, _ODD_IS_NONE]
_Amount = Annotated[Annotated[float, Field(ge=0)] | None, _ODD_IS_NONE]
_Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, _ODD_IS_NONE]


class _Numbers(BaseModel):
    """The part of progress.json and metrics.json that we read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    attempt: int
    step: int = Field(0, ge=0, le=MOST_STEPS)
    total_steps: int = Field(0, ge=0, le=MOST_STEPS)
    train_loss: _Figure = None
    initial_validation_loss: _Figure = None
    validation_loss: _Figure = None
    validations: Any = ()
    """Pairs of step and loss."""
    tokens_per_second: _Amount = None
    energy_kwh: _Amount = None
    host_energy_kwh: _Amount = None
    energy_estimated_share: _Share = None
    energy_source: Annotated[str | None, _ODD_IS_NONE] = None
    energy_covers_host: Annotated[bool | None, _ODD_IS_NONE] = None
    first_step_seconds: float | None = Field(None, ge=0, le=1e9)
    started_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    """These two in real time."""
    checkpoint: _Saved | None = None
    warnings: tuple[str, ...] = ()


class TrainingFailure(BaseModel):
    """Why a training ended early, in its own words."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    reason: str = Field(pattern=r"^[A-Za-z0-9]{1,64}$")
    message: str = ""


_SIGKILL: Final = re.compile(r"failed with exit code (-9|137)\b")
_KILLED: Final = TrainingFailure(
    reason="Killed",
    message="the training was killed (SIGKILL), most often because the machine ran out of memory: lower batchSize or "
    "sequenceLength, or ask for more; the last good checkpoint is kept",
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the output says of one attempt."""

    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    energy: Energy | None = None
    log: RunLog | None = None
    warning: str = ""
    """What a person should know of it though it goes on, such as a checkpoint that was passed over."""
    is_done: bool = False
    """The training has finished, in this very attempt."""


@dataclass(slots=True)
class OutputReads(Generic[Found]):
    """Reads outputs in threads of their own: a store may hang, as NFS without its server or S3 without an answer does.

    A read that hangs is waited for once, and harms no other; it is not begun anew before it has ended.
    """

    seconds: float = 5.0
    """How long a read is waited for."""
    _pending: dict[str, "Future[Found]"] = field(default_factory=dict)

    def read(self, name: str, work: Callable[[], Found]) -> Found | None:
        """What `work` finds for an attempt, or has found since it was asked before; None where that takes too long."""
        is_new = name not in self._pending
        future = self._pending.setdefault(name, Future())
        if is_new:
            # A daemon, so that a read that hangs keeps no agent from ending.
            threading.Thread(target=_settle, args=(future, work), name=f"output of {name}", daemon=True).start()
        wait([future], self.seconds if is_new else 0)
        return self._pending.pop(name).result() if future.done() else None


def _settle(future: "Future[Found]", work: Callable[[], Found]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - who waits is told
        future.set_exception(error)


def output_place(store: Path, folders: Iterable[Path], uri: str, uid: str) -> str:
    """Where an attempt saves: in S3, in one of `folders` (links followed), or the job's folder in `store`.

    `uid` is a checked job UID, so it is safe as a folder's name. Raises ValueError for any other place, which is not
    looked at but for where its links lead.
    """
    path = uri.removeprefix("file://")
    if not uri or path.startswith(f"{SPOKE_STORE}/"):
        return str(store / uid)
    if "::" not in uri and uri.startswith("s3://"):  # `::` chains addresses, which the library would follow
        return uri
    if path.startswith("/") and "::" not in path:
        place = Path(path).resolve()
        if any(place.is_relative_to(each.resolve()) for each in (store, *folders)):
            return str(place)
    raise ValueError(
        f"{uri} is neither in an object store (s3://) nor within a folder of this host that jobs may save in: let the "
        "spoke's admin name one that holds it (the agent's --output-folders), or leave checkpoints.uri out"
    )


def reader_of(place: str) -> Read:
    """Reads the output of a place: a folder of this machine, or of S3 where this machine has the means.

    A placement may name any URL, and the agent stands where its tenants do not: it asks no other server for them.
    What they save elsewhere is known from the log.
    """
    if place.startswith("s3://") and "::" not in place:  # `::` chains addresses
        return lambda name: _fetched(f"{place}/{name}")
    if "://" in place:
        return lambda _name: None

    def read(name: str) -> bytes | None:
        try:
            with (Path(place) / name).open("rb") as file:
                return file.read(_MOST_BYTES)
        except OSError:
            return None

    return read


def _fetched(url: str) -> bytes | None:
    """An object's content; None also where the library or the rights are missing: then the log must do."""
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url, **_S3)
        return bytes(fs.cat_file(path, end=_MOST_BYTES))
    except Exception:  # noqa: BLE001  # every store has its own errors, and all of them mean the same here
        return None


def read_findings(read: Read, attempt: int, place: str, clock: Clock) -> Findings:
    """What the output says of `attempt`; an earlier attempt's progress is not ours, its checkpoint is."""
    last = _numbers(read(METRICS), attempt)
    numbers = last or _numbers(read(PROGRESS), attempt)
    return Findings(
        progress=_progress(numbers, clock) if numbers else None,
        checkpoint=_checkpoint(read(LEASE), place),
        energy=_energy(numbers, clock, is_whole=last is not None) if numbers else None,
        log=_kept_log(read(LOG.format(attempt)), attempt, place),
        warning="; ".join(numbers.warnings) if numbers else "",
        is_done=_attempt_of(read(DONE)) == attempt,
    )


def findings_in_log(log: str, attempt: int, place: str, clock: Clock) -> Findings:
    """The same from the `LORA_PROGRESS {json}` lines of a log, where the output can't be seen; the last one counts.

    Energy is taken from all of them, each a sample.
    """
    found = [_numbers(line.encode(), attempt) for line in _PROGRESS_LINE.findall(log)]
    last = found[-1] if found else None
    printed = _kept_log(log.encode(), attempt, place)
    if last is None:
        return Findings(log=printed)
    samples = thinned([sample for one in found if one for sample in _energy(one, clock).samples])
    energy = _energy(last, clock).model_copy(update={"samples": samples})
    checkpoint = _as_checkpoint(last.checkpoint, place)
    return Findings(_progress(last, clock), checkpoint, energy, printed, "; ".join(last.warnings))


def _kept_log(data: bytes | None, attempt: int, place: str) -> RunLog | None:
    """Where a log is kept, and its last whole lines as people read them: what machines read is left out."""
    if not data:
        return None
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in data.decode("utf-8", "replace").split("\n"))
    told = [line for line in lines if line and not _FOR_MACHINES.search(line)][-_TAIL_LINES:]
    tail = masked("".join(f"{line}\n" for line in told))
    if len(tail) > _TAIL_CHARACTERS:
        cut = tail[-_TAIL_CHARACTERS:]
        tail = cut.partition("\n")[2] or cut
    return RunLog(uri=f"{place}/{LOG.format(attempt)}"[:1024], tail=tail)


def failure_in(log: str) -> TrainingFailure | None:
    """The last `LORA_FAILURE {json}` line of a log; or what Ray says of a training that had no last word."""
    found = _FAILURE.findall(log)
    try:
        if found:
            return TrainingFailure.model_validate_json(found[-1])
    except ValidationError:
        return None
    return _KILLED if _SIGKILL.search(log) else None


def _numbers(data: bytes | None, attempt: int) -> _Numbers | None:
    try:
        numbers = _Numbers.model_validate_json(data) if data else None
    except ValidationError:
        return None
    return numbers if numbers and numbers.attempt == attempt else None


def _progress(numbers: _Numbers, clock: Clock) -> Progress:
    """Rounded as far as anybody reads them; the output keeps every digit."""
    said = numbers.model_dump(include=set(Progress.model_fields))
    said["validations"] = _validations(numbers, clock)
    if numbers.started_at is not None and numbers.first_step_seconds is not None:
        said["first_step_time"] = _moment(numbers.started_at.timestamp() + numbers.first_step_seconds, clock)
    return Progress(**{name: round(value, 4) if isinstance(value, float) else value for name, value in said.items()})


def _validations(numbers: _Numbers, clock: Clock) -> tuple[Validation, ...]:
    """Those after the first step that can be one, the last ones where they are too many; as seen now."""
    at = _moment(numbers.updated_at.timestamp(), clock) if numbers.updated_at is not None else None
    found: list[Validation] = []
    for pair in numbers.validations if isinstance(numbers.validations, Sequence) else ():
        with suppress(ValueError, TypeError, OverflowError):
            step, loss = pair
            found.append(Validation(step=step, loss=round(loss, 4), time=at or clock.now()))
    return tuple(found[-MOST_VALIDATIONS:])


def _energy(numbers: _Numbers, clock: Clock, *, is_whole: bool = False) -> Energy:
    """What a meter counted, in carbonfleet's time, or the word that there is none: the hub then uses the profile."""
    measured = {method.value for method in EnergyMethod} - {EnergyMethod.ESTIMATE.value}
    if numbers.energy_kwh is None or numbers.energy_source not in measured:
        return Energy(method=EnergyMethod.ESTIMATE)
    at = _moment(numbers.updated_at.timestamp(), clock) if numbers.updated_at is not None else None
    samples = (PowerSample(time=at, energy_kwh=numbers.energy_kwh),) if at is not None else ()
    total = numbers.energy_kwh if is_whole or not samples else None
    return Energy(
        method=EnergyMethod(numbers.energy_source),
        kwh=total,
        samples=samples,
        host_kwh=numbers.host_energy_kwh,
        covers_host=bool(numbers.energy_covers_host),
        estimated_share=numbers.energy_estimated_share or 0.0,
    )


def _moment(real_seconds: float, clock: Clock) -> datetime | None:
    """A moment that a training names, by `clock` and no later than now; None for one before there were such clocks."""
    try:
        moment = clock.at(real_seconds)
    except (OverflowError, ValueError):
        return None if real_seconds < 0 else clock.now()
    return min(moment, clock.now()) if moment.year >= 1970 else None


def _checkpoint(data: bytes | None, place: str) -> Checkpoint | None:
    try:
        saved = _Lease.model_validate_json(data).checkpoints if data else ()
    except ValidationError:
        return None
    return _as_checkpoint(saved[0] if saved else None, place)


def _as_checkpoint(saved: _Saved | None, place: str) -> Checkpoint | None:
    if saved is None:
        return None
    return Checkpoint(uri=place[:1024], step=saved.step, digest=f"sha256:{saved.sha256}")


def _attempt_of(data: bytes | None) -> Any:  # noqa: ANN401
    try:
        marker = json.loads(data) if data else None
    except ValueError:
        return None
    return marker.get("attempt") if isinstance(marker, dict) else None
