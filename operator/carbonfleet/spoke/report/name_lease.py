"""One agent for each spoke's name: a lease in its SpokeCluster's status, which heartbeats renew.

Leader election as Kubernetes' components do it. The name belongs to whoever stands there as its holder; every write
names the resource version that it was decided on, so that of two agents that start in one moment the API takes one.
Another agent waits until it has itself seen no renewal for the holder's whole lease, by a clock that nobody sets; the
holder starts nothing once two thirds of that have passed without an answer.
"""

import logging
import re
import socket
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.kube import KubeError
from carbonfleet.private_files import replace_file
from carbonfleet.spoke.report.hub_link import HubLink, Standing

logger = logging.getLogger(__name__)

_HOLDING_SHARE: Final = 2 / 3
"""Of the lease, during which its holder is sure of it."""
_LOOKS: Final = 10
"""At the holder, in the length of a lease."""
_TRIES: Final = 3
"""Of one renewal: the hub writes to the same object."""
_MOST_KEPT: Final = 8


@dataclass(slots=True)
class Identity:
    """Who an agent is: what its state folder holds, and another at each start.

    So a restarted agent is known at once, and of a folder and its copy the one that has held the name last.
    """

    file: Path
    current: str = field(init=False)
    _own: list[str] = field(init=False)

    def __post_init__(self) -> None:
        known = self.file.read_text(errors="replace").split() if self.file.exists() else []
        self.current = f"{re.sub('[^A-Za-z0-9.-]', '-', socket.gethostname())[:64]}_{uuid.uuid4().hex[:16]}"
        self._own = [*known[-_MOST_KEPT:], self.current]
        self._save(self._own)

    def owns(self, holder: str) -> bool:
        """Whether a holder is this agent, or was before it was started again."""
        return holder in self._own

    def confirm(self) -> None:
        """The current one stands on the hub: earlier ones are nobody's any more."""
        self._own = [self.current]
        self._save(self._own)

    def _save(self, known: list[str]) -> None:
        try:
            replace_file(self.file, "\n".join(known))
        except OSError as error:
            logger.warning("cannot write %s, so that a restart may have to wait for the lease: %s", self.file, error)


@dataclass(slots=True)
class NameLease:
    """This agent's hold of its spoke's name."""

    hub: HubLink
    identity: Identity
    seconds: float
    """Real ones."""
    holder: str = ""
    """Another agent that holds the name, where one does."""
    _version: str = ""
    _renewed_at: float | None = None
    _seen: tuple[str, str] = ("", "")
    _seen_at: float = 0.0
    _look_at: float = 0.0
    _rival: tuple[str, str] = ("", "")
    _rival_until: float = 0.0

    @property
    def is_refused(self) -> bool:
        """Another agent holds the name: this one may do nothing under it."""
        return bool(self.holder)

    @property
    def is_due(self) -> bool:
        """Whether to ask for the name, since this agent is not sure of it."""
        return bool(self.problem) and time.monotonic() >= self._look_at

    @property
    def problem(self) -> str:
        """Why this agent may start nothing; empty while it is sure of the name."""
        if self.is_refused:
            return (
                f"another agent, {self.holder}, holds the name {self.hub.spoke}, so that {self.identity.current} does "
                "nothing: stop one of the two. Once the first has been silent for its whole lease, the other takes over"
            )
        if self._renewed_at is None or time.monotonic() - self._renewed_at > self.seconds * _HOLDING_SHARE:
            return (
                "the hub has not confirmed of late that this agent holds its spoke's name, so that nothing is started"
            )
        return ""

    @property
    def rival_problem(self) -> str:
        """What a person should know of another agent that wants the name; empty when none does."""
        if not self._rival[0] or time.monotonic() > self._rival_until:
            return ""
        return f"another agent, {self._rival[0]}, wants the name {self.hub.spoke} and is refused: stop one of the two"

    def claim(self, now: datetime) -> bool:
        """Ask for the name; whether it is this agent's now. Raises KubeError when the hub is away."""
        asked_at, stands = time.monotonic(), self.hub.standing()
        is_free = self._is_free(stands, asked_at)
        try:
            if not is_free:
                self._refuse(stands.holder)
                self.hub.ask(self.identity.current, now, self.problem, stands)
                return False
            self._version = self.hub.claim(self.identity.current, self.seconds, stands.version)
        except KubeError as error:
            if not error.is_conflict:
                raise
            return False  # somebody was faster: the next pass looks who
        if self.is_refused:
            logger.warning("Spoke %s: %s is silent; this agent takes the name", self.hub.spoke, self.holder)
        self.holder, self._renewed_at = "", asked_at
        self.identity.confirm()
        return True

    def renew(self, status: SpokeStatus) -> bool:
        """Write the holder's status; False where another holds the name by now. Raises KubeError."""
        mine = {"holder_identity": self.identity.current, "lease_duration_seconds": round(self.seconds)}
        for _ in range(_TRIES):
            asked_at = time.monotonic()
            try:
                self._version = self.hub.beat(status.model_copy(update=mine), self._version)
            except KubeError as error:
                if not error.is_conflict:
                    raise
                stands = self.hub.standing()
                if stands.holder and not self.identity.owns(stands.holder):
                    self._refuse(stands.holder)
                    return False
                self._version = stands.version
                self._note_rival(stands.rival)
                continue
            self._renewed_at = asked_at
            return True
        return False

    def _is_free(self, stands: Standing, at: float) -> bool:
        """Nobody's, this agent's own, or one's that was silent for its lease while this one watched."""
        if (stands.holder, stands.renewed) != self._seen:
            self._seen, self._seen_at = (stands.holder, stands.renewed), at
        is_over = at - self._seen_at >= (stands.lease_seconds or self.seconds)
        return not stands.holder or self.identity.owns(stands.holder) or is_over

    def _note_rival(self, rival: tuple[str, str]) -> None:
        if rival != self._rival:
            self._rival, self._rival_until = rival, time.monotonic() + self.seconds

    def _refuse(self, holder: str) -> None:
        self._look_at = time.monotonic() + self.seconds / _LOOKS
        if self.holder != holder:
            self.holder = holder
            logger.error("Spoke %s: %s", self.hub.spoke, self.problem)
