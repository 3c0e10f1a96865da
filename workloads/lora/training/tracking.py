"""Progress sent to the MLflow server that `MLFLOW_TRACKING_URI` names, by its REST API; no run ends by it."""

import base64
import json
import math
import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from ..settings import Job

_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 10.0
"""How long the end of a run waits for what is not sent yet."""
_MOST_BYTES: Final = 2**20
_METRICS: Final = (
    "train_loss",
    "tokens_per_second",
    "energy_kwh",
    "host_energy_kwh",
    "energy_estimated_share",
)


class Tracking:
    """Sends the numbers of one attempt from a thread; what the server does not take is left out."""

    def __init__(self, url: str, job: Job, environment: Mapping[str, str]) -> None:
        self._url, self._job, self._environment = f"{url.rstrip('/')}/api/2.0/mlflow", job, environment
        self._pending: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=100)
        self._run, self._status, self._is_told = "", "FAILED", False
        self._last: dict[str, tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._thread.start()

    @classmethod
    def opened(cls, job: Job) -> "Tracking | None":
        """For the server that the environment names; None where it names none, or no HTTP address."""
        url = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not url:
            return None
        if not url.startswith(("http://", "https://")):
            print("nothing is tracked: MLFLOW_TRACKING_URI is no http:// or https:// address", flush=True)
            return None
        return cls(url, job, os.environ)

    def note(self, numbers: dict[str, Any]) -> None:
        """Have numbers sent; they are left out where too many are waiting."""
        with suppress(queue.Full):
            self._pending.put_nowait(numbers)

    def close(self, status: str) -> None:
        """Say how the run ended (`FINISHED`, `KILLED` or `FAILED`), and wait a little until all is sent."""
        self._status = status
        with suppress(queue.Full):
            self._pending.put(None, timeout=_LAST_SECONDS)
        self._thread.join(_LAST_SECONDS)

    def _send(self) -> None:
        while (numbers := self._pending.get()) is not None:
            self._try(numbers)
        self._try(None)

    def _try(self, numbers: dict[str, Any] | None) -> None:
        try:
            if numbers is not None:
                self._run = self._run or self._begin()
                self._log(_figures(numbers))
            elif self._run:
                ended = {"run_id": self._run, "status": self._status, "end_time": _milliseconds()}
                self._ask("runs/update", ended)
        except Exception as error:  # noqa: BLE001  # whatever a server does is no fault of the run's
            if not self._is_told:
                self._is_told = True
                # Neither the address nor the server's words: both may hold a secret.
                what = f"HTTP {error.code}" if isinstance(error, HTTPError) else type(error).__name__
                print(f"MLflow does not take what is tracked: {what}", flush=True)

    def _log(self, figures: Iterable[tuple[str, int, float]]) -> None:
        """Send those that are later than what was sent, or others at its step."""
        begin = (-1, math.nan)
        fresh = [
            each for each in figures if each[1:] != (last := self._last.get(each[0], begin)) and each[1] >= last[0]
        ]
        if fresh:
            at = _milliseconds()
            metrics = [{"key": name, "step": step, "value": value, "timestamp": at} for name, step, value in fresh]
            self._ask("runs/log-batch", {"run_id": self._run, "metrics": metrics})
            self._last |= {name: (step, value) for name, step, value in fresh}

    def _begin(self) -> str:
        """A new run with its settings as parameters; its ID."""
        name = self._job.output.rstrip("/").rpartition("/")[2] or "run"
        made = self._ask(
            "runs/create",
            {
                "experiment_id": self._environment.get("MLFLOW_EXPERIMENT_ID") or self._experiment(),
                "run_name": f"{name}-{self._job.attempt}"[:250],
                "start_time": _milliseconds(),
                "tags": [{"key": "carbonfleet.attempt", "value": str(self._job.attempt)}],
            },
        )
        run = str(made["run"]["info"]["run_id"])
        self._ask("runs/log-batch", {"run_id": run, "params": _parameters(self._job)})
        return run

    def _experiment(self) -> str:
        name = self._environment.get("MLFLOW_EXPERIMENT_NAME") or "carbonfleet"
        try:
            found = self._ask(f"experiments/get-by-name?experiment_name={quote(name, safe='')}")
            return str(found["experiment"]["experiment_id"])
        except HTTPError as error:
            if error.code != 404:
                raise
        return str(self._ask("experiments/create", {"name": name})["experiment_id"])

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = Request(f"{self._url}/{path}", None if body is None else json.dumps(body).encode())  # noqa: S310
        request.add_header("Content-Type", "application/json")
        if (secret := self._authorization()) is not None:
            request.add_unredirected_header("Authorization", secret)  # for this server alone
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310  # the operator's own address
            said = json.loads(answer.read(_MOST_BYTES) or b"{}")
        if not isinstance(said, dict):
            raise TypeError("an answer is an object")
        return said

    def _authorization(self) -> str | None:
        """As MLflow's own client has it."""
        if token := self._environment.get("MLFLOW_TRACKING_TOKEN"):
            return f"Bearer {token}"
        user, password = (self._environment.get(f"MLFLOW_TRACKING_{each}") for each in ("USERNAME", "PASSWORD"))
        if not (user and password):
            return None
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _figures(numbers: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """What is a number, by name and step; a validation at the step that it was made at."""
    validations = [("validation_loss", step, loss) for step, loss in numbers["validations"]]
    figures = [(name, numbers["step"], numbers.get(name)) for name in _METRICS]
    return [each for each in (*validations, *figures) if isinstance(each[2], int | float) and math.isfinite(each[2])]


def _parameters(job: Job) -> list[dict[str, str]]:
    """The settings by their paths; not where files lie, which may tell a secret."""
    said = job.settings.model_dump(mode="json", exclude_none=True, exclude={"dataset": {"path"}})
    flat: dict[str, Any] = {}
    for name, value in said.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return [{"key": name, "value": str(value)[:500]} for name, value in flat.items()]


def _milliseconds() -> int:
    return int(time.time() * 1000)
