"""What is wanted of the fleet repository, as values, and what became of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from carbonfleet.api.job import DecisionRecord, JobSpec
from carbonfleet.fleet.manifests import Placement, job_path, move_path, object_name, placement_id
from carbonfleet.placement.decision import Decision, Window


@dataclass(frozen=True, slots=True)
class Place:
    """Write a decision to Git."""

    decision: Decision
    spec: JobSpec
    record: DecisionRecord
    """The decision in the form that is kept; it travels in the file."""
    replace: bool = False
    """A person asked for it (annotation `replace`): also where someone removed or edited the file."""
    expires_at: datetime | None = None
    """Of a placement that people review: merged later than this, it is not valid any more."""
    approved_in: str = ""
    """Of a move that people agreed to: the commit with which they did; it is not written without their word."""

    form: int | None = None
    """The newest form of placements' files that the spoke's agent reads; that of this version if None."""

    @property
    def window(self) -> Window:
        """The place and time. Raises ValueError for a decision that has none."""
        if self.decision.window is None:
            raise ValueError(f"{self.decision.key}: a decision without a window can't be placed")
        return self.decision.window

    @property
    def id(self) -> str:
        """The placement's id, the same for equal (UID, generation, attempt)."""
        return placement_id(self.decision.uid, self.decision.generation, self.decision.attempt)

    @property
    def path(self) -> str:
        """Where its file goes."""
        return str(job_path(self.window.cluster, self.decision.namespace, self.decision.name))

    @property
    def object_name(self) -> str:
        """What the RayJob will be called."""
        return object_name(self.decision.name, self.decision.uid, self.decision.attempt)


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a placement out of Git, so that its spoke stops it."""

    placement: Placement
    why: str
    finished: bool = False
    """Its terminal report is stored, a person confirmed its removal, it moves or was merged too late: no work for the
    deletion guard."""
    to: Place | None = None
    """Of a move: the next attempt; where the tip does not allow that, this one stays."""
    orphaned: bool = False
    """Its job is no more. The deletion guard counts these apart: nobody asked for them, and no job can confirm them."""

    @property
    def id(self) -> str:
        """The placement's id."""
        return self.placement.placement_id


@dataclass(frozen=True, slots=True)
class Suspend:
    """Set `spec.suspend` of a placement that is in Git."""

    placement: Placement
    suspended: bool
    why: str

    @property
    def id(self) -> str:
        """The placement's id."""
        return self.placement.placement_id


@dataclass(frozen=True, slots=True)
class ProposeMove:
    """Write down, where no spoke reads it, that a job under way is to go elsewhere: what merging a move does."""

    place: Place
    """The next attempt."""
    placement: Placement
    """The live one, which this leaves as it is."""

    @property
    def id(self) -> str:
        """The id of the placement that it would lead to."""
        return self.place.id

    @property
    def path(self) -> str:
        """Where people's word is kept until the move is made or lapses."""
        return move_path(self.place.decision.namespace, self.place.decision.name)


@dataclass(frozen=True, slots=True)
class Lapse:
    """Take away people's word on a move that can't be made any more."""

    placement: Placement
    """As it is under `moves/`."""
    why: str

    @property
    def id(self) -> str:
        """Not the placement's own id, which may be written in the same commit."""
        return f"move/{self.placement.placement_id}"


Intent = Place | Remove | Suspend | ProposeMove | Lapse


@dataclass(frozen=True, slots=True)
class Committed:
    """It is on the branch, in this commit."""

    commit: str


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The branch was so already; nothing was written."""

    commit: str
    """The tip on which it was found."""
    placement: Placement | None = None
    """What is there; None where the wish was that it be gone."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It must not be written; the reason is stable and in CamelCase."""

    reason: str
    message: str


Result = Committed | AlreadyThere | Refused


@dataclass(frozen=True, slots=True)
class Published:
    """The tip after publishing, and the result of each intent by its placement id."""

    commit: str
    results: Mapping[str, Result]
    tries: int = 1
