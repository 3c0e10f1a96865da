"""When an attempt held its GPUs, as its report says; told pass by pass."""

from dataclasses import replace
from datetime import datetime, timedelta

from spoke_values import NOON, run, wanted

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.spoke.attempt_state import AttemptState, AttemptStatus, KnownAttempt, status_of
from carbonfleet.spoke.report import Context, report_of
from carbonfleet.spoke.runtimes import Findings

MINUTE = timedelta(minutes=1)


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


class Passes:
    """An agent's passes over one attempt, each on what the one before it remembered."""

    def __init__(self) -> None:
        self.known: KnownAttempt | None = None

    def see(self, minutes: float, phase: Phase, suspended: bool = False, status: AttemptStatus | None = None, **times):
        """One pass; the stints in minutes after noon, None for what is open."""
        state = AttemptState(
            wanted(suspended), run(phase, **{name: at(value) for name, value in times.items()}), self.known
        )
        report = report_of(state, status or status_of(state), Findings(), Context("no-osl-1", at(minutes), ""))
        self.known = replace(self.known or KnownAttempt(report, session="s1"), report=report)
        return [
            ((stint.start - NOON) / MINUTE, (stint.end - NOON) / MINUTE if stint.end else None)
            for stint in report.stints
        ]


def test_an_attempt_holds_its_gpus_from_its_start_to_its_end():
    passes = Passes()
    assert passes.see(1, Phase.PENDING) == []
    assert passes.see(5, Phase.RUNNING, started_at=3) == [(3, None)]
    assert passes.see(60, Phase.RUNNING, started_at=3) == [(3, None)]
    assert passes.see(99, Phase.SUCCEEDED, started_at=3, ended_at=98) == [(3, 98)]


def test_a_pause_lies_between_two_stints():
    passes = Passes()
    passes.see(5, Phase.RUNNING, started_at=3)
    assert passes.see(60, Phase.RUNNING, suspended=True, started_at=3) == [(3, None)]
    assert passes.see(62, Phase.STOPPED, suspended=True, started_at=3, ended_at=61) == [(3, 61)]
    assert passes.see(90, Phase.STOPPED, started_at=3, ended_at=61) == [(3, 61)]
    assert passes.see(120, Phase.PENDING) == [(3, 61)]
    assert passes.see(125, Phase.RUNNING, started_at=122) == [(3, 61), (122, None)]
    assert passes.see(190, Phase.SUCCEEDED, started_at=122, ended_at=185) == [(3, 61), (122, 185)]


def test_what_went_on_and_ended_between_two_looks_is_told():
    passes = Passes()
    passes.see(5, Phase.RUNNING, started_at=3)
    passes.see(62, Phase.STOPPED, suspended=True, started_at=3, ended_at=61)
    assert passes.see(190, Phase.SUCCEEDED, started_at=122, ended_at=185) == [(3, 61), (122, 185)]
    assert Passes().see(60, Phase.FAILED, started_at=3, ended_at=40) == [(3, 40)]


def test_a_runtime_that_keeps_its_first_start_still_shows_the_pause():
    passes = Passes()
    passes.see(5, Phase.RUNNING, started_at=3)
    assert passes.see(62, Phase.SUSPENDED, suspended=True, started_at=3) == [(3, 62)]
    assert passes.see(125, Phase.RUNNING, started_at=3) == [(3, 62), (125, None)]


def test_silence_of_the_runtime_ends_no_stint():
    passes = Passes()
    passes.see(5, Phase.RUNNING, started_at=3)
    away = AttemptStatus(Phase.UNKNOWN, "RuntimeUnreachable")
    assert passes.see(60, Phase.RUNNING, status=away, started_at=3) == [(3, None)]
