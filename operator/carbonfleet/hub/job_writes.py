"""Writes to jobs in the Kubernetes API, several at once; one that is refused harms no other job."""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from carbonfleet.hub.observe import JOBS, JobState, Mirror
from carbonfleet.kube import Kube, KubeError, Object, ours

_log = logging.getLogger(__name__)
MOST_AT_ONCE: Final = 8
"""Writes under way at the same time."""
MOST_FAILED_IN_ROW: Final = 16
"""After so many writes that the API was not well for, the rest wait for the next cycle."""
_TRIES: Final = 3
"""Of a write that others were faster with."""
Wanted = TypeVar("Wanted")
Result = TypeVar("Result")


@dataclass(slots=True)
class JobWrites:
    """Patches a job's status or finalizers and keeps the API's answer in the mirror. Thread-safe."""

    kube: Kube
    mirror: Mirror
    _failed_in_row: int = 0
    """Writes that the API was not well for, since the last that it took."""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MOST_AT_ONCE, "job writes"))

    def each(self, write: Callable[[Wanted], Result], wanted: Iterable[Wanted]) -> list[Result]:
        """What `write` returns for each, in order, several under way at once. Raises what it raises."""
        return list(self._pool.map(write, wanted))

    def begin(self, write: Callable[[Wanted], Result], wanted: Iterable[Wanted]) -> list[Future[Result]]:
        """The same without waiting."""
        return [self._pool.submit(write, one) for one in wanted]

    def patch_status(self, state: JobState, patch: Object) -> bool:
        """Whether the status was written; False where the API would not have it. Raises KubeError when it is away."""
        try:
            body = self.kube.patch(f"{_path(state)}/status", {"status": patch})
        except KubeError as error:
            self._pass_over(state, error, "status")
            return False
        self._failed_in_row = 0
        self.mirror.refresh(JOBS, body)
        return True

    def patch_finalizers(
        self, state: JobState, change: Callable[[set[str]], set[str]], annotations: Mapping[str, str | None]
    ) -> bool:
        """Change the finalizers of this very object, as it is now, and some annotations, of which None takes one away.

        False where that can't be (yet).
        """
        body = state.body
        for _ in range(_TRIES):
            metadata = body["metadata"]
            wanted = sorted(change(set(metadata.get("finalizers") or ())))
            version = metadata["resourceVersion"]
            patch = {"metadata": {"finalizers": wanted, "annotations": dict(annotations), "resourceVersion": version}}
            try:
                self.mirror.refresh(JOBS, self.kube.patch(_path(state), patch))
            except KubeError as error:
                if not error.is_conflict:
                    self._pass_over(state, error, "finalizer")
                    return False
            else:
                return True
            now = self._read_again(state)
            if now is None:
                return False
            body = now
        return False

    def _read_again(self, state: JobState) -> Object | None:
        """The object as it is now; None when it is no more, or another of the same name."""
        try:
            body = self.kube.get(_path(state))
        except KubeError as error:
            self._pass_over(state, error, "finalizer")
            return None
        if body["metadata"]["uid"] != state.uid:
            self.mirror.drop(JOBS, state.body)
            return None
        self.mirror.refresh(JOBS, body)
        return body

    def _pass_over(self, state: JobState, error: KubeError, what: str) -> None:
        """One job's write was refused: the others go on. Raises the error when the API itself is not well."""
        if not error.is_about_one_object and self._is_away(error):
            raise error
        if error.is_gone:
            self.mirror.drop(JOBS, state.body)
        else:
            _log.warning("the %s of %s was not written: %s", what, state.key, error)

    def _is_away(self, error: KubeError) -> bool:
        """Whether the API itself is not well: a webhook of somebody's, or a limit, may fail a few writes alone."""
        self._failed_in_row += 1
        return error.is_away or self._failed_in_row > MOST_FAILED_IN_ROW

    def close(self) -> None:
        """Begin no more; what is under way ends by its time-out."""
        self._pool.shutdown(wait=False)


def _path(state: JobState) -> str:
    metadata = state.body["metadata"]
    return ours(JOBS, metadata["namespace"], metadata["name"])
