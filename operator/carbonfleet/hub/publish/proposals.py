"""Placements that people must agree to: what is proposed, and where each proposal stands."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import format_time
from carbonfleet.faults import said
from carbonfleet.fleet import FleetError, Place, Placement, Proposal, Propose, Repository, Reviews
from carbonfleet.hub.observe import MERGED_LATE, Blocker, JobStage, JobState, Mirror, Observation, asks_to_replace
from carbonfleet.hub.planning import Planned
from carbonfleet.hub.running import GOOD_FOR, Asking
from carbonfleet.placement.decision import Outcome

_log = logging.getLogger(__name__)


def proposals_of(observation: Observation, planned: Planned) -> list[Propose]:
    """What people are to be asked: decisions that would start, and that policy or job want reviewed."""
    if observation.tip is None or not observation.tip_is_fresh:
        return []
    found = observation.each(
        "what is asked about it can't be told",
        lambda state: _proposal_of(state, planned, observation),
        observation.queued(),
    )
    return [wanted for _, wanted in found if wanted is not None]


def _proposal_of(state: JobState, planned: Planned, observation: Observation) -> Propose | None:
    decision = planned.decisions.get(state.uid)
    if decision is None or decision.window is None or state.job is None:
        return None
    if decision.outcome is not Outcome.START or not decision.review_required:
        return None
    replace, form = asks_to_replace(state), observation.form_for(decision)
    place = Place(decision, state.job.spec, planned.records[state.uid], replace=replace, form=form)
    return Propose(place, decision.window.start + GOOD_FOR)


@dataclass(slots=True)
class ProposalReviews:
    """Brings proposals of placements and moves forward."""

    repository: Repository
    reviews: Reviews
    mirror: Mirror
    hinted: Event = field(default_factory=Event)
    """Set when the forge says that something has happened there."""

    @property
    def has_open(self) -> bool:
        """Whether people are asked about anything."""
        return self.reviews.has_open

    def hold_late(self, observation: Observation) -> Observation:
        """The observation with holds on live placements that were merged after their time.

        They leave Git and are proposed anew. By the clock of who merged: a hub that was down meanwhile judges as one
        that was there. A merge that writes no commit of its own (fast-forward) leaves no time to judge by.
        """
        found = {}
        for state in observation.jobs:
            placed = state.placement
            if placed is None or placed.expires_at is None or state.stage is not JobStage.LIVE:
                continue
            with observation.only(state, "when it was merged can't be told"):
                if not _is_accepted(state, placed) and (said := self._lateness(placed, placed.expires_at)):
                    found[state.uid] = Blocker(MERGED_LATE, said)
        return observation.holding(found)

    def _lateness(self, placed: Placement, expires_at: datetime) -> str:
        try:
            merged_at = self.repository.arrived_at(placed)
        except FleetError:
            return ""
        if merged_at is None or merged_at < expires_at:
            return ""
        return (
            f"the proposal was good until {format_time(expires_at)} and was merged at {format_time(merged_at)}: it is "
            "taken back and, once its spoke has stopped it, proposed anew"
        )

    def advance(self, observation: Observation, wanted: Sequence[Propose], asking: Asking) -> Mapping[str, Proposal]:
        """Bring all proposals, of placements and moves, a step further; where each stands, by job UID."""
        jobs = observation.generations()
        if observation.tip is None or not observation.tip_is_fresh:
            return {}
        try:
            if not (wanted or self.has_open or self.reviews.has_outlived(jobs)):
                return {}
            hint = self.hinted.is_set()
            self.hinted.clear()
            found = self.reviews.advance(
                wanted,
                observation.now,
                hint=hint,
                undecided=asking.undecided,
                over=asking.over,
                hub=observation.hub_uid,
                jobs=jobs if self.mirror.synced else None,
            )
        except FleetError as error:
            _log.warning("proposals were not looked after: %s", error)
            return {}
        except Exception as error:  # noqa: BLE001 - what is proposed stays as it is, and all else goes on
            _log.exception("proposals were not looked after: %s", said(error))
            return {}
        return {one.place.decision.uid: found[one.place.id] for one in wanted if one.place.id in found}


def _is_accepted(state: JobState, placed: Placement) -> bool:
    """It was judged before and found in time, whatever became of the branch's history since."""
    known = state.status.placement
    return known is not None and known.placement_id == placed.placement_id and state.status.phase is not Phase.WAITING
