"""SpokeCluster objects follow the cluster files, and their conditions what the hub finds of each spoke."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Final

from carbonfleet.api.spoke import PlannedStart
from carbonfleet.api.wire import API_VERSION, format_time
from carbonfleet.faults import only
from carbonfleet.fleet import Tip
from carbonfleet.fleet.publish import most_removals
from carbonfleet.hub.observe import SPOKES, Mirror, Observation, rough
from carbonfleet.hub.status.events import EventRecorder, Transition
from carbonfleet.kube import Kube, KubeError, Object, ours
from carbonfleet.placement.decision import Decision, Outcome
from carbonfleet.placement.snapshot import Spoke

_log = logging.getLogger(__name__)
REPORTS_VALID: Final = "ReportsValid"
CLOCK_IN_SYNC: Final = "ClockInSync"
AGENT_UNIQUE: Final = "AgentUnique"
PLACEMENTS_OWNED: Final = "PlacementsOwned"
RECONCILED: Final = "Reconciled"
_LEFT_ALONE: Final = (
    "What else is said here stays as it is until a later cycle succeeds. The hub's log has the fault: please report it"
)
MOST_STARTS: Final = 64
"""Of a spoke, that its agent is told."""
MOST_SHOWN: Final = 3
"""Problems of a spoke's reports that its condition shows in full."""
LONGEST_SHOWN: Final = 250
"""Characters of each."""


@dataclass(slots=True)
class SpokeStatuses:
    """Keeps the SpokeCluster objects. What it remembers can be lost at any time."""

    kube: Kube
    mirror: Mirror
    events: EventRecorder
    _logged: dict[str, frozenset[str]] = field(default_factory=dict)
    """By spoke: what the log last said of its reports."""
    _named: frozenset[str] = frozenset()
    """The problems of the fleet repository's files that the log has named."""

    def update(self, observation: Observation) -> None:
        """Write what the cluster files and the observation say of each spoke, where it changed.

        Raises KubeError when the API is away.
        """
        if observation.tip is None:
            return
        if observation.tip_is_fresh:
            self._log_files(observation.tip)
            self._mirror_files(observation.tip)
        spokes = {spoke.name: spoke for spoke in observation.spokes}
        held = _held_orphans(observation, observation.tip)
        for body in self.mirror.all(SPOKES):
            name = str(body["metadata"]["name"])
            with _only(f"what is found of spoke {name} can't be told", partial(self._blame, body, observation)):
                self._write(body, _found(name, body, spokes.get(name), held.get(name, ()), observation), observation)
        self._log_problems(observation)

    def tell_starts(self, observation: Observation, decisions: Iterable[Decision]) -> None:
        """Tell each spoke with pools whose hosts may sleep when these are needed next, where it changed.

        Raises KubeError when the API is away.
        """
        sleepers = {
            spoke.name: {pool.name for pool in spoke.facts.pools if pool.wake_time is not None}
            for spoke in observation.spokes
        }
        planned = _planned_starts(decisions, sleepers, observation.now)
        for body in self.mirror.all(SPOKES):
            name = str(body["metadata"]["name"])
            with _only(f"spoke {name} can't be told what is planned there"):
                said, told = (body.get("status") or {}).get("plannedStarts") or [], planned.get(name, [])
                if said != told:
                    where = ours(SPOKES, name=name)
                    written = self.kube.patch(f"{where}/status", {"status": {"plannedStarts": told}})
                    self.mirror.refresh(SPOKES, written)

    def _blame(self, body: Object, observation: Observation, fault: str) -> None:
        """Say so at the spoke, where that can be done."""
        with _only(f"a fault over SpokeCluster {body['metadata']['name']} can't be told"):
            self._write(body, {RECONCILED: Transition("HubFault", f"{fault}. {_LEFT_ALONE}", True)}, observation)

    def _log_files(self, tip: Tip) -> None:
        """Log what is wrong with files of the fleet repository, once: who wrote them may see no job's status."""
        problems = frozenset({*tip.policies.problems, *tip.cluster_problems.values(), *tip.problems.values()})
        for problem in sorted(problems - self._named):
            _log.warning("the fleet repository: %s", problem)
        self._named = problems

    def _mirror_files(self, tip: Tip) -> None:
        """Create or update a SpokeCluster for each cluster file that differs from it.

        A cluster whose file is gone or broken keeps its object: its agent may still have work to report.
        """
        present = {body["metadata"]["name"]: body for body in self.mirror.all(SPOKES)}
        for name, facts in tip.clusters.items():
            with _only(f"SpokeCluster {name} was not written"):
                spec = facts.to_wire()
                if name not in present:
                    self.mirror.put(SPOKES, self.kube.create(ours(SPOKES), _object(name, spec)))
                elif not _holds(present[name].get("spec") or {}, spec):
                    self.mirror.refresh(SPOKES, self.kube.patch(ours(SPOKES, name=name), {"spec": spec}))

    def _write(self, body: Object, found: Mapping[str, Transition], observation: Observation) -> None:
        """The hub's conditions of a SpokeCluster.

        `Ready` says whether jobs are placed there, as the planner sees the spoke. Five more stand there once they were
        in doubt: `ReportsValid`, that all that the spoke reports is its own to report, `ClockInSync`, `AgentUnique`,
        that one agent asks for its name, `PlacementsOwned`, that none are left there whose jobs are no more, and
        `Reconciled`, that the hub did not fail over it.
        """
        news = {kind: what for kind, what in found.items() if not _is_unchanged(_condition(body, kind), what)}
        if not news:
            return
        conditions = [_as_condition(body, kind, what, observation) for kind, what in found.items()]
        others = [dict(each) for each in _conditions(body) if each.get("type") not in found]
        where = ours(SPOKES, name=body["metadata"]["name"])
        written = self.kube.patch(f"{where}/status", {"status": {"conditions": [*conditions, *others]}})
        self.mirror.refresh(SPOKES, written)
        for kind, what in news.items():
            if kind != "Ready" or _condition(body, kind):
                self.events.record_spoke(body, what, observation.now)

    def _log_problems(self, observation: Observation) -> None:
        """Log what spokes report and must not, once."""
        for spoke, said in observation.report_problems.items():
            known = self._logged.get(spoke, frozenset())
            if news := [text for text in said if text not in known]:
                _log.warning("spoke %s: %s", spoke, _in_short(news))
        self._logged = {spoke: frozenset(said) for spoke, said in observation.report_problems.items()}


@contextmanager
def _only(what: str, blame: Callable[[str], object] = str) -> Iterator[None]:
    """Whatever goes wrong inside is one spoke's, a refused write too. Raises KubeError where the API is away."""
    try:
        with only(what, blame, but=KubeError):
            yield
    except KubeError as error:
        if error.is_away:
            raise
        if not error.is_conflict:  # somebody else was faster: the next cycle looks again
            _log.warning("%s: %s", what, error)


def _found(
    name: str, body: Object, spoke: Spoke | None, left: Sequence[str], observation: Observation
) -> dict[str, Transition]:
    """By condition: what is to stand there."""
    found = {"Ready": _readiness(name, spoke)}
    said = observation.report_problems.get(name, ())
    if said or _condition(body, REPORTS_VALID):
        found[REPORTS_VALID] = _validity(said)
    if _is_skewed(name, observation) or _condition(body, CLOCK_IN_SYNC):
        found[CLOCK_IN_SYNC] = _synchrony(name, observation)
    if name in observation.rivalled or _condition(body, AGENT_UNIQUE):
        found[AGENT_UNIQUE] = _uniqueness(name in observation.rivalled)
    if left or _condition(body, PLACEMENTS_OWNED):
        found[PLACEMENTS_OWNED] = _ownership(left)
    if _condition(body, RECONCILED):
        found[RECONCILED] = Transition("Reconciled", "the hub follows what it says", False)
    return found


def _planned_starts(
    decisions: Iterable[Decision], sleepers: Mapping[str, Collection[str]], now: datetime
) -> dict[str, list[Object]]:
    """By spoke: the starts that are planned on its pools whose hosts may sleep, the soonest first.

    What starts now is told by its placement.
    """
    found = defaultdict[str, list[PlannedStart]](list)
    for decision in decisions:
        window = decision.window
        if window is None or decision.outcome is Outcome.KEEP or window.pool not in sleepers.get(window.cluster, ()):
            continue
        ahead = [start for start, _ in window.segments if start > now]
        found[window.cluster] += [PlannedStart(pool=window.pool, at=start, gpus=window.gpus) for start in ahead]
    order = attrgetter("at", "pool", "gpus")
    return {
        name: [each.to_wire() for each in sorted(all_of_it, key=order)[:MOST_STARTS]]
        for name, all_of_it in found.items()
    }


def _holds(present: Object, wanted: Object) -> bool:
    """Whether the object says all that the file says; the API adds defaults of its own."""
    return all(present.get(key) == value for key, value in wanted.items())


def _object(name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": "SpokeCluster", "metadata": {"name": name}, "spec": spec}


def _readiness(name: str, spoke: Spoke | None) -> Transition:
    if spoke is None:
        return Transition(
            "NotDeclared",
            f"clusters/{name}/cluster.yaml is not in Git: nothing is placed here and what runs goes on. Add it, or "
            "delete this object once the spoke is gone",
            True,
        )
    if not spoke.healthy:
        return Transition(spoke.reason or "NotHealthy", spoke.message or "the spoke is not well", True)
    return Transition("Ready", "declared in Git and heard from: jobs may be placed here", False)


def _is_skewed(name: str, observation: Observation) -> bool:
    return name in observation.heard and bool(observation.heard[name].skew)


def _synchrony(name: str, observation: Observation) -> Transition:
    if not _is_skewed(name, observation):
        return Transition("InSync", "its clock and the hub's agree", False)
    skew = observation.heard[name].skew
    off = f"{rough(abs(skew))} {'ahead of' if skew > timedelta() else 'behind'} the hub's"
    return Transition("ClockSkewed", f"its clock is {off}: set it right, for what it reports is dated by it", True)


def _uniqueness(is_rivalled: bool) -> Transition:
    if not is_rivalled:
        return Transition("OneAgent", "one agent alone asks for its name", False)
    return Transition(
        "SecondAgent",
        "two agents run under its name. The second (status.rivalIdentity) is refused and does nothing, even while "
        "the first (status.holderIdentity) is silent: stop one of them, or give the second a name and rights of its "
        "own. Where the first is gone for good, give its name on: carbonfleet spoke take-over",
        True,
    )


def _validity(said: Sequence[str]) -> Transition:
    if not said:
        return Transition("AsInGit", "all that it reports is on what Git has for it", False)
    return Transition(
        "NotAsInGit", f"{_in_short(said)}. If the agent there is ours, see who else has its account", True
    )


def _held_orphans(observation: Observation, tip: Tip) -> dict[str, list[str]]:
    """By spoke: the files of jobs that are no more, where they are too many to be removed unasked."""
    files = defaultdict[str, list[str]](list)
    if len(observation.orphans) > most_removals(len(tip.index.by_id)):
        for placed in observation.orphans:
            files[placed.cluster].append(placed.path)
    return files


def _ownership(files: Sequence[str]) -> Transition:
    if not files:
        return Transition("Owned", "every placement is of a job that is there", False)
    return Transition(
        "DeletionGuardTripped",
        f"{len(files)} placements are of jobs that are no more, and so many are not removed unasked: if the jobs were "
        f"meant to go, remove their files from Git, which stops what runs: {', '.join(sorted(files)[:MOST_SHOWN])}"
        f"{', ...' if len(files) > MOST_SHOWN else ''}",
        True,
    )


def _in_short(said: Sequence[str]) -> str:
    more = f"; and {_roughly(len(said) - MOST_SHOWN)} more" if len(said) > MOST_SHOWN else ""
    return "; ".join(text[:LONGEST_SHOWN] for text in said[:MOST_SHOWN]) + more


def _roughly(count: int) -> str:
    """A number that does not change with each report of a flood."""
    return str(count) if count < 10 else f"over {10 ** (len(str(count)) - 1) - 1}"


def _condition(body: Object, kind: str) -> Object:
    """What the object says already; empty where it says nothing of it."""
    return next((dict(each) for each in _conditions(body) if each.get("type") == kind), {})


def _conditions(body: Object) -> Sequence[Object]:
    return (body.get("status") or {}).get("conditions") or ()


def _is_unchanged(condition: Object, what: Transition) -> bool:
    return all(condition.get(key) == value for key, value in _content(what).items())


def _content(what: Transition) -> Object:
    status = "False" if what.is_warning else "True"
    return {"status": status, "reason": what.reason, "message": what.message[:1024]}


def _as_condition(body: Object, kind: str, what: Transition, observation: Observation) -> Object:
    """The condition; its time of transition is kept where its status did not change."""
    old, new = _condition(body, kind), _content(what)
    same = old.get("status") == new["status"]
    since = old["lastTransitionTime"] if same else format_time(observation.now)
    generation = body["metadata"].get("generation") or 0
    return {"type": kind, **new, "lastTransitionTime": since, "observedGeneration": generation}
