"""One agent for each spoke's name: a lease in its SpokeCluster's status, which heartbeats renew.

Leader election as Kubernetes' components do it, but for its end. The name belongs to whoever stands there as its
holder; every write names the resource version that it was decided on, so that of two agents that start in one moment
the API takes one. The holder starts nothing once two thirds of its lease have passed without an answer. No silence
makes another the holder: what a machine runs goes on when only the hub is out of its reach, so a person who knows that
it has ended gives the name up in its place.
"""

import fcntl
import logging
import os
import re
import socket
import struct
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.kube import KubeError
from carbonfleet.private_files import make_file, replace_file
from carbonfleet.spoke.report.hub_link import HubLink, Standing

logger = logging.getLogger(__name__)

_HOLDING_SHARE: Final = 2 / 3
"""Of the lease, during which its holder is sure of it."""
_LOOKS: Final = 10
"""At the holder, in the length of a lease."""
_TRIES: Final = 3
"""Of one renewal: the hub writes to the same object."""
_MOST_KEPT: Final = 8
_PLACE: Final = "place:"
_BOOT: Final = "boot:"
_GET_GENERATION: Final = 0x80087601
"""FS_IOC_GETVERSION of Linux."""


@dataclass(slots=True)
class Identity:
    """Who an agent is: another at each start, and what its state folder holds of those before.

    What it holds counts in that very folder alone, which one process can lock: a copy has other inodes.
    """

    file: Path
    current: str = field(init=False)
    is_copy: bool = field(init=False)
    """The folder was copied from another's."""
    rebooted: bool = field(init=False)
    """The machine was started again since the agent was, or is another one, which the same disk was given to."""
    _place: str = field(init=False)
    _own: list[str] = field(init=False)

    def __post_init__(self) -> None:
        known = self.file.read_text(errors="replace").split() if self.file.exists() else []
        self._place = f"{_PLACE}{_inode_of(self.file.with_name('lock'))}"
        boot = f"{_BOOT}{_boot_id()}"
        places = [each for each in known if each.startswith(_PLACE)]
        self.is_copy = bool(places) and self._place not in places
        self.rebooted = bool(places) and boot not in known
        names = [each for each in known if not each.startswith((_PLACE, _BOOT))]
        self.current = f"{re.sub('[^A-Za-z0-9.-]', '-', socket.gethostname())[:64]}_{uuid.uuid4().hex[:16]}"
        self._own = [*(() if self.is_copy else names[-_MOST_KEPT:]), self.current]
        self._save()

    def owns(self, holder: str) -> bool:
        """Whether a holder is this agent, or was before it was started again."""
        return holder in self._own

    def confirm(self) -> None:
        """The current one stands on the hub: earlier ones are nobody's any more."""
        self._own, self.is_copy, self.rebooted = [self.current], False, False
        self._save()

    def _save(self) -> None:
        """The boot is noted once the name is held: until then, a restart asks as this one does."""
        boot = () if self.rebooted else (f"{_BOOT}{_boot_id()}",)
        try:
            replace_file(self.file, "\n".join((*self._own, self._place, *boot)))
        except OSError as error:
            logger.warning("cannot write %s, so that a restart may have to wait for the lease: %s", self.file, error)


def _inode_of(file: Path) -> str:
    """What tells a file from all copies of it: its inode's number, and the generation that it was made in.

    File systems that don't tell a generation are told apart by their own id.
    """
    try:
        make_file(file)
        with file.open("rb") as opened:
            number = os.fstat(opened.fileno()).st_ino
            try:
                made = struct.unpack("l", fcntl.ioctl(opened, _GET_GENERATION, bytes(8)))[0]
            except OSError:
                made = os.fstatvfs(opened.fileno()).f_fsid
    except OSError:
        return "unknown"
    return f"{number:x}.{made:x}"


def _boot_id() -> str:
    """Of the running kernel, which containers share; empty where it tells none."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


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
    _watched: tuple[tuple[str, str], float] = (("", ""), 0.0)
    """A holder and when it was heard, and since when that has not changed."""

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
            if self.identity.owns(self.holder):
                return (
                    f"{self.holder} ran from this state folder before the machine was started again, and may run on "
                    "elsewhere: the name is taken once the hub has not heard it for the length of its lease"
                )
            copy = " on a copy of its state folder" if self.identity.is_copy else ""
            return (
                f"another agent, {self.holder}, holds the name {self.hub.spoke}, so that {self.identity.current}{copy} "
                "does nothing: stop one of the two. If the first is gone for good, with all that it ran, give the name "
                f"on: carbonfleet spoke take-over {self.hub.spoke}"
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
            if stands.holder and not (self.identity.owns(stands.holder) and self._is_over(stands)):
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

    def _is_over(self, stands: Standing) -> bool:
        """Whether this agent's own last process, which holds the name, has ended.

        On the same machine the folder's lock says so. After a reboot it is enough that nobody was heard for a lease: a
        disk may have been cloned with all that is on it.
        """
        if not self.identity.rebooted or stands.holder == self.identity.current:
            return True
        seen, since = self._watched
        if seen != (stands.holder, stands.heard):
            self._watched = (stands.holder, stands.heard), time.monotonic()
            return False
        return time.monotonic() - since > stands.lease_seconds

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
