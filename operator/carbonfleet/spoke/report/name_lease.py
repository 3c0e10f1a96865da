"""One agent for each spoke's name: a lease in its SpokeCluster's status, which heartbeats renew.

Leader election as Kubernetes' components do it, but for its end. The name belongs to whoever stands there as its
holder; every write names the resource version that it was decided on, so that of two agents that start in one moment
the API takes one. The holder starts nothing once two thirds of its lease have passed without an answer. No silence
makes another the holder: what a machine runs goes on when only the hub is out of its reach, so a person who knows that
it has ended gives the name up in its place.
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
from carbonfleet.spoke.report.hub_link import HubLink

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


def release(hub: HubLink) -> bool:
    """Free a name whose holder is silent for its whole lease while this looks on; False where it was heard.

    So the holder is not sure of the name any more, whatever it can't reach. Raises KubeError.
    """
    stands = hub.standing()
    for _ in range(_LOOKS):
        time.sleep(stands.lease_seconds / _LOOKS)
        seen = hub.standing()
        if (seen.holder, seen.heard) != (stands.holder, stands.heard):
            return False
    hub.release(seen)
    return True


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
                "nothing: stop one of the two. If the first is gone for good, with all that it ran, give the name on: "
                f"carbonfleet spoke take-over {self.hub.spoke}"
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
        try:
            if stands.holder and not self.identity.owns(stands.holder):
                self._refuse(stands.holder)
                self.hub.ask(self.identity.current, now, self.problem, stands)
                return False
            self._version = self.hub.claim(self.identity.current, self.seconds, stands.version)
        except KubeError as error:
            if not error.is_conflict:
                raise
            return False  # somebody was faster: the next pass looks who
        if self.is_refused:
            logger.warning("Spoke %s: %s has given up the name; this agent takes it", self.hub.spoke, self.holder)
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

    def _note_rival(self, rival: tuple[str, str]) -> None:
        if rival != self._rival:
            self._rival, self._rival_until = rival, time.monotonic() + self.seconds

    def _refuse(self, holder: str) -> None:
        self._look_at = time.monotonic() + self.seconds / _LOOKS
        if self.holder != holder:
            self.holder = holder
            logger.error("Spoke %s: %s", self.hub.spoke, self.problem)
