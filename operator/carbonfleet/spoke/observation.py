"""Everything that the agent sees in one pass: Git, the runtime and its own memory, attempt by attempt."""

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from carbonfleet.faults import only
from carbonfleet.spoke.attempt_state import AttemptState, KnownAttempt
from carbonfleet.spoke.errors import RuntimeAwayError
from carbonfleet.spoke.memory import Memory
from carbonfleet.spoke.runtimes import Findings, ObservationScope, Observed, Runtime
from carbonfleet.spoke.wanted import Wanted, WantedSet


@dataclass(slots=True)
class SpokeObservation:
    """One pass's picture. `wanted` is None before Git was read, `observed` while the runtime is away."""

    runtime: Runtime
    memory: Memory
    wanted: WantedSet | None
    observed: Observed | None = None
    faults: dict[str, str] = field(default_factory=dict)
    """By attempt: what about it nobody foresaw; it is left as it is, and the others go on."""
    _found: dict[str, Findings] = field(default_factory=dict)

    def scope(self) -> ObservationScope:
        """What the runtime is to look for."""
        remembered = self._uncleared()
        open_ones = {name: known.report for name, known in remembered.items() if not known.is_over}
        placements = self.wanted.placements.values() if self.wanted else ()
        namespaces = {known.report.job.namespace for known in remembered.values()}
        return ObservationScope(frozenset(namespaces | {one.placement.namespace for one in placements}), open_ones)

    def states(self) -> dict[str, AttemptState]:
        """Every attempt that Git wants, that runs, that is not over or may have left something behind, by name."""
        wanted = self.wanted.placements.keys() if self.wanted else set[str]()
        runs = self.observed.runs.keys() if self.observed else set[str]()
        states = {}
        for name in sorted(wanted | runs | self._uncleared().keys()):
            with self.only(name, "how it stands can't be told"):
                states[name] = self._sight(name)
        return states

    def _uncleared(self) -> dict[str, KnownAttempt]:
        """Attempts of which the runtime may hold something, as far as is remembered, by name."""
        found = {}
        for name, known in self.memory.items():
            with self.only(name, "whether it is over can't be told"):
                if not (known.is_over and known.cleared):
                    found[name] = known
        return found

    def held(self) -> Counter[str]:
        """GPUs that our attempts hold and that serve adapters, by pool."""
        held = Counter[str](self.wanted.serving if self.wanted else {})
        for name, run in self.observed.runs.items() if self.observed else ():
            is_live = True
            with self.only(name, "whether it runs can't be told, so that its GPUs count as held"):
                is_live = run.is_live
            held[run.pool] += run.gpus if is_live else 0
        return held

    def findings(self, name: str) -> Findings:
        """What the attempt's output says; read once in a pass, and no more once it is over."""
        if name not in self._found:
            self._found[name] = Findings()
            with self.only(name, "its output can't be read"):
                self._found[name] = self._look(name)
        return self._found[name]

    def only(self, name: str, what: str) -> AbstractContextManager[None]:
        """Whatever goes wrong with one attempt is that attempt's fault alone; a runtime that is away is not."""
        return only(f"{name}: {what}", partial(self.faults.__setitem__, name), but=RuntimeAwayError)

    def _sight(self, name: str) -> AttemptState:
        known = self.memory.get(name)
        wanted = self.wanted.placements.get(name) if self.wanted else None
        return AttemptState(
            wanted=wanted,
            run=self.observed.runs.get(name) if self.observed else None,
            known=known,
            is_done=self.findings(name).is_done,
            goes_on=self._is_hidden(name, wanted),
        )

    def _is_hidden(self, name: str, wanted: Wanted | None) -> bool:
        """Whether Git or the runtime can't be seen for it, which is no wish that it should end."""
        known = self.memory.get(name)
        if wanted is None and (self.wanted is None or self.wanted.leaves(known.path if known else "")):
            return True
        namespace = wanted.placement.namespace if wanted else known.report.job.namespace if known else ""
        return self.observed is not None and namespace in self.observed.blind

    def _look(self, name: str) -> Findings:
        known = self.memory.get(name)
        wanted = self.wanted.placements.get(name) if self.wanted else None
        if known is not None and known.is_over:
            return Findings()
        run = self.observed.runs.get(name) if self.observed else None
        is_over = run is not None and run.phase.is_terminal
        if wanted is not None:
            namespace, attempt = wanted.placement.namespace, wanted.placement.attempt
            return self.runtime.look(name, namespace, attempt, self.runtime.place(wanted), is_over=is_over)
        if known is not None and known.place:
            namespace, attempt = known.report.job.namespace, known.report.attempt
            return self.runtime.look(name, namespace, attempt, known.place, is_over=is_over)
        return Findings()
