"""What review of placements is about: proposals, and what every forge is asked for."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from carbonfleet.fleet.errors import FleetError
from carbonfleet.fleet.manifests import Placement
from carbonfleet.fleet.publish import Place, ProposeMove

OPEN = "carbon"
MOVE = "move"
"""What the trailer of a proposal's commit calls a move."""
LONGEST_JOB = 70
LABEL = "carbon/placement"
SUPERSEDED = "carbon/superseded"
"""Set before the hub closes a proposal itself, so that this is never taken for a person's rejection."""
TITLE_SUPERSEDED = "Superseded: "
"""Begins the title instead, where the hub may not label."""
COMMENT_MARK = "<!-- carbonfleet -->"
"""Begins the hub's one comment on a request, which is changed in place."""
HUMAN_EDITED = "carbon/human-edited"
POLICY_CHECK = "carbonfleet/policy"
FRESH_CHECK = "carbonfleet/fresh"


@dataclass(frozen=True, slots=True)
class Propose:
    """A placement, or the move of a job under way, that a person must agree to."""

    place: Place
    expires_at: datetime
    """Merged later, it is not valid any more."""
    leaves: Placement | None = None
    """Of a move: the live placement, which merging leaves as it is until the hub has stopped it."""
    lapses: int = 0
    """Of a move: how often people's word on it came to nothing; then they are asked on another branch."""

    @property
    def intent(self) -> Place | ProposeMove:
        """What the proposal's commit does."""
        place = replace(self.place, expires_at=self.expires_at)
        return place if self.leaves is None else ProposeMove(place, self.leaves)


def job_of(wanted: Propose) -> str:
    """A job as the names of its branches have it."""
    return f"{wanted.place.decision.namespace}.{wanted.place.decision.name}"[:LONGEST_JOB].rstrip(".-")


def branch_of(wanted: Propose) -> str:
    """The branch on which a placement or a move is proposed; it is the proposal's identity."""
    place, job = wanted.place, job_of(wanted)
    again = f"-{wanted.lapses + 1}" if wanted.lapses else ""
    return f"{OPEN}/{job}/{place.id[:8]}{f'-{MOVE}{again}' if wanted.leaves else ''}"


class ProposalStage(StrEnum):
    """What became of a proposal."""

    OPEN = "Open"
    MERGED = "Merged"
    REJECTED = "Rejected"
    """A person said no; it holds for the generation: a no to a placement, or to moves."""
    HUMAN_EDITED = "HumanEdited"
    """A person pushed to the branch; it is not touched any more."""
    SUPERSEDED = "Superseded"
    """Its time has passed or its reasons changed; to be proposed anew."""
    HELD = "Held"
    """Not proposed yet: too many are open, or the forge asks us to wait."""
    REFUSED = "Refused"
    """Policy forbids it on the tip."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal as it stands."""

    placement_id: str
    branch: str
    stage: ProposalStage
    message: str = ""
    commit: str = ""
    url: str = ""
    reason: str = ""
    """Of a refusal or hold, in CamelCase."""
    cluster: str = ""
    """Where the job would go."""


class Mergeable(StrEnum):
    """Whether a pull request can be merged; what is not known is never yes."""

    YES = "yes"
    NO = "no"
    CONFLICT = "conflict"
    BLOCKED = "blocked"
    BEHIND = "behind"
    UNKNOWN = "unknown"


class PullState(StrEnum):
    """Where a pull request is."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull or merge request, the same for every forge."""

    number: int
    url: str
    state: PullState
    branch: str
    head_sha: str
    mergeable: Mergeable
    labels: frozenset[str] = frozenset()
    merge_sha: str = ""
    """Only where it is merged: forges give one for closed requests too."""
    title: str = ""
    body: str = ""
    is_from_fork: bool = False
    """Its branch is another repository's, and has only the name of one of ours."""

    @property
    def rejected(self) -> bool:
        """A person closed it without merging."""
        ours = SUPERSEDED in self.labels or self.title.startswith(TITLE_SUPERSEDED)
        return self.state is PullState.CLOSED and not ours


class MergeOutcome(StrEnum):
    """How a merge ended."""

    MERGED = "Merged"
    SCHEDULED = "Scheduled"
    ALREADY_MERGED = "AlreadyMerged"
    HEAD_MOVED = "HeadMoved"
    BASE_MOVED = "BaseMoved"
    NOT_READY = "NotReady"
    CONFLICT = "Conflict"
    FORBIDDEN = "Forbidden"
    GONE = "Gone"


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The outcome with its detail."""

    outcome: MergeOutcome
    detail: str = ""
    """The merge's commit, or why not."""


class ForgeError(FleetError):
    """The forge could not be asked; try again in a later cycle."""

    reason = "ForgeUnreachable"


class ForgeDenied(ForgeError):  # noqa: N818  named like its reason
    """The forge does not accept our token, or the token may not do this."""

    reason = "ForgeDenied"


class ForgeRateLimited(ForgeError):  # noqa: N818  named like its reason
    """The forge wants us to wait; it is not asked before."""

    reason = "ForgeRateLimited"


@dataclass(frozen=True, slots=True)
class RepositoryAccess:
    """What a forge says of the repository to the token's owner."""

    can_write: bool
    """May push, and open requests."""
    is_protected: bool
    """Whether the branch that requests go to has rules."""


class Forge(Protocol):
    """Pull requests of one repository on one forge. Every method may raise ForgeError."""

    def access(self) -> RepositoryAccess:
        """What the token may do, and how the base branch is kept."""

    def find(self, branch: str) -> PullRequest | None:
        """The open request from a branch, or else the newest."""

    def read(self, number: int) -> PullRequest:
        """A request as it is now."""

    def create(self, branch: str, title: str, body: str) -> PullRequest:
        """Open a request, unless an open or merged one is there; then that one."""

    def edit(self, number: int, title: str, body: str) -> None:
        """Replace title and body."""

    def add_label(self, number: int, label: str) -> None:
        """Label a request; the label is made if it is missing."""

    def say(self, number: int, text: str) -> None:
        """Write our one comment, or change it; the same text again is no change."""

    def set_status(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """Set a commit's check; setting it again is no error."""

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """Merge a request if its head is `sha`."""

    def close(self, number: int) -> None:
        """Close without merging."""
