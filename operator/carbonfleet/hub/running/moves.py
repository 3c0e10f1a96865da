"""Moves of jobs under way that people must agree to: asked for, agreed to, refused, or come to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from carbonfleet.api.wire import format_time
from carbonfleet.fleet import FleetError, Lapse, Place, Placement, Proposal, Propose, Repository, Tip
from carbonfleet.fleet.manifests import MOVES, MOVES_UNREADABLE
from carbonfleet.fleet.review import ProposalStage
from carbonfleet.hub.observe import AgreedMove, Blocker, JobStage, JobState, Observation, has_same_spec
from carbonfleet.hub.planning import Planned
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.rules import residency_verdict

GOOD_FOR: Final = timedelta(hours=2)
"""After its start a proposal, of a placement or a move, can be merged for so long; then it is made anew."""
STOP_GRACE: Final = timedelta(hours=1)
"""What has been begun in time may take so much longer to stop where it ran."""
_OVER: Final = {
    JobStage.DONE: "the job has ended",
    JobStage.ENDED: "the job has ended",
    JobStage.LEAVING: "the job was deleted",
    JobStage.INVALID: "the job's spec is not valid any more",
    JobStage.UNREADABLE: "the job's status can't be read",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """What people are to be asked about jobs under way, and what no longer."""

    wanted: tuple[Propose, ...] = ()
    held: frozenset[str] = frozenset()
    """UIDs of jobs whose move was decided on in this cycle, and must be agreed to."""
    undecided: frozenset[tuple[str, int]] = frozenset()
    """Jobs under way (UID and next attempt) on which nothing was decided: what is asked about them stays."""
    over: Mapping[str, str] = field(default_factory=dict)
    """By job UID: why its move is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where proposals stand once people were asked."""

    proposals: Mapping[str, Proposal] = field(default_factory=dict)
    """By job UID: of this cycle, and of moves asked for before."""
    refused: frozenset[str] = frozenset()
    """UIDs of jobs whose move people refused now: each is to be decided on again."""


@dataclass(slots=True)
class Moves:
    """Asks people about moves and records their answers. What it remembers can be lost at any time."""

    repository: Repository
    _asked: dict[str, Propose] = field(default_factory=dict)
    """By UID of a job under way: the move about which people are asked."""
    _proposals: dict[str, Proposal] = field(default_factory=dict)
    """Of the same: where that stood last."""
    _refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By job UID: the generation that people did not want to be moved, and what they said."""

    def load_approvals(self, observation: Observation) -> Observation:
        """The observation with people's answers: moves agreed to on the branch, and refusals as far as known.

        While a file under `moves/` can't be read nothing is moved, and what stopped for a move waits.
        """
        if observation.tip is not None and (why := observation.tip.why_held(MOVES)):
            blocker, tip = Blocker(MOVES_UNREADABLE, why), observation.tip
            waits = observation.which("whether it moves can't be told", lambda state: _is_between(state, tip))
            observation = observation.holding(dict.fromkeys((state.uid for state in waits), blocker))
        if not self._refused and not (observation.tip and observation.tip.moves):
            return observation
        said = observation.each("what people said of its move can't be told", self._refusal)
        refusals = {state.uid: refusal for state, refusal in said if refusal}
        if observation.tip is None or not observation.tip.moves:
            return replace(observation, refused_moves=refusals)
        agreed = {}
        for state in observation.jobs:
            move = observation.tip.moves.get(state.uid)
            with observation.only(state, "what people agreed to can't be told"):
                if move is not None and _is_next(state, move) and not _in_the_way(state, move, observation):
                    agreed[state.uid] = AgreedMove(move, self._agreed_in(move) or observation.tip.commit)
        return replace(observation, refused_moves=refusals, agreed=agreed)

    def _refusal(self, state: JobState) -> str:
        generation, said = self._refused.get(state.uid, (0, ""))
        return said if generation == state.body["metadata"].get("generation") else ""

    def _agreed_in(self, move: Placement) -> str:
        try:
            return self.repository.agreed_in(move)
        except FleetError:
            return ""

    def hold_for_review(self, observation: Observation, planned: Planned, *, has_open: bool) -> tuple[Planned, Asking]:
        """Moves to which people must agree, taken out of the plan: until they have, the job is left as it is.

        `has_open` says that the review has proposals open.
        """
        moves = {uid for uid, decision in planned.decisions.items() if decision.outcome is Outcome.MOVE}
        held = {uid for uid in moves if planned.decisions[uid].review_required}
        if not (self._asked or has_open or held):
            return planned, Asking()
        found = observation.which(
            "what runs of it can't be told", lambda state: state.stage is JobStage.LIVE and has_same_spec(state)
        )
        live = {state.uid: state for state in found}
        held &= live.keys()
        left = planned.without(held)
        for uid in held:
            with observation.only(live[uid], "its move can't be proposed"):
                self._asked[uid] = self._proposal(live[uid], planned, observation)
        self._forget_what_is_over(observation, left, live)
        undecided = {(uid, state.placement.attempt + 1) for uid, state in live.items() if state.placement}
        return left, Asking(
            tuple(self._asked[uid] for uid in sorted(self._asked)),
            frozenset(held),
            frozenset(
                (uid, attempt)
                for uid, attempt in undecided
                if uid not in planned.decisions and uid not in observation.refused_moves
            ),
            _why_over(observation, left),
        )

    def _forget_what_is_over(self, observation: Observation, left: Planned, live: Mapping[str, JobState]) -> None:
        for uid, before in list(self._asked.items()):
            if uid in left.decisions or uid in observation.refused_moves or not _is_about(before, live.get(uid)):
                del self._asked[uid]
        for uid in self._proposals.keys() - self._asked.keys():
            del self._proposals[uid]

    def _proposal(self, state: JobState, planned: Planned, observation: Observation) -> Propose:
        assert state.job is not None, "only a valid job is decided on"  # noqa: S101
        decision, record = planned.decisions[state.uid], planned.records[state.uid]
        place = Place(decision, state.job.spec, record, form=observation.form_for(decision))
        lapses = self.repository.lapses(place.id)
        return Propose(place, place.window.start + GOOD_FOR, leaves=state.placement, lapses=lapses)

    def record_answers(self, observation: Observation, proposals: Mapping[str, Proposal]) -> Answers:
        """Remember where what was asked stands."""
        generations = observation.generations()
        for uid in self._refused.keys() - generations.keys():
            del self._refused[uid]
        refused = set()
        for uid in proposals.keys() & self._asked.keys():
            proposal = self._proposals[uid] = proposals[uid]
            if proposal.stage is ProposalStage.REJECTED and uid in generations:
                self._refused[uid] = generations[uid], f"It is not moved: people said no ({proposal.message})."
                refused.add(uid)
        return Answers({**self._proposals, **proposals}, frozenset(refused))


def _is_next(state: JobState, move: Placement) -> bool:
    """It is about this very job, the attempt that follows, and the spec as it is."""
    if state.stage not in (JobStage.LIVE, JobStage.QUEUED, JobStage.ENDED) or move.key != state.key:
        return False
    same_spec = state.body["metadata"].get("generation") == move.generation
    return same_spec and move.attempt == (state.placement.attempt if state.placement else state.last_attempt) + 1


def _is_between(state: JobState, tip: Tip) -> bool:
    """It has stopped, and people agreed, or may have, where it goes on."""
    if state.stage is not JobStage.QUEUED or state.last_attempt == 0:
        return False
    return state.uid in tip.moves or f"{MOVES}/{state.key}.yaml" in tip.problems


def _in_the_way(state: JobState, move: Placement, observation: Observation) -> bool:
    """What keeps a move from being made now: its time is over, its place takes nothing or is forbidden, or all are."""
    if observation.tip is not None and observation.tip.why_held(MOVES):
        return True
    grace = STOP_GRACE if state.stage is JobStage.QUEUED else timedelta()
    if move.expires_at is not None and observation.now >= move.expires_at + grace:
        return True
    spoke = next((spoke for spoke in observation.spokes if spoke.name == move.cluster), None)
    if spoke is None or not spoke.healthy or state.job is None or observation.tip is None:
        return True
    residency, namespace = state.job.spec.residency, state.job.metadata.namespace
    places = state.job.spec.workload.data_places
    return not residency_verdict(
        observation.tip.policies, residency.data_class, namespace, residency, spoke.facts, places
    ).allowed


def lapses(observation: Observation) -> list[Lapse]:
    """Approvals of moves that can't be made any more; that of a job that has stopped is kept until it is placed."""
    if observation.tip is None or not observation.tip_is_fresh or not observation.tip.moves:
        return []
    stray = [Lapse(move, "its job is no more") for move in observation.stray_moves]
    moves = observation.tip.moves
    found = observation.each(
        "whether its move lapses can't be told", lambda state: _lapse(state, moves.get(state.uid), observation)
    )
    return stray + [lapse for _, lapse in found if lapse is not None]


def _lapse(state: JobState, move: Placement | None, observation: Observation) -> Lapse | None:
    if move is None or state.stage is JobStage.ENDED:
        return None
    if not _is_next(state, move):
        return Lapse(move, _OVER.get(state.stage, "the job is not where it was when people were asked"))
    if state.stage is JobStage.LIVE and move.expires_at is not None and observation.now >= move.expires_at:
        return Lapse(move, f"it was good until {format_time(move.expires_at)}")
    return None


def _over(state: JobState) -> str:
    if state.stage is JobStage.LIVE and not has_same_spec(state):
        return "the job's spec was changed"
    return _OVER.get(state.stage, "")


def _is_about(asked: Propose, state: JobState | None) -> bool:
    """The job still runs the attempt, of the spec, about which people are asked."""
    if state is None or state.placement is None or asked.leaves is None:
        return False
    return state.placement.placement_id == asked.leaves.placement_id


def _why_over(observation: Observation, planned: Planned) -> Mapping[str, str]:
    over = {state.uid: why for state, why in observation.each("what is over of it can't be told", _over) if why}
    stays = (uid for uid, decision in planned.decisions.items() if decision.outcome in (Outcome.KEEP, Outcome.PAUSE))
    return over | dict.fromkeys(
        stays, (observation.tip.why_held(MOVES) if observation.tip else "") or "moving gains too little by now"
    )
