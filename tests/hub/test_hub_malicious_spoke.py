"""A spoke whose account is in other hands changes nothing of other spokes' jobs, placements or ledger lines."""

import tempfile
from dataclasses import dataclass, field
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from pprint import pformat

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from carbonfleet.api.report import AttemptPhase
from carbonfleet.kube import ours, path
from fixtures.in_process_hub import NAMESPACE
from fixtures.kubeapi_server import KubeApi
from fixtures.malicious_spoke import EVIL, HOME, JOBS, STEPS, Hour, make_world

ODD_TEXTS = ["", "\x1b[31mred", "x" * 2000, "\u202e\u0000", "'; DROP TABLE entries; --", "CTJ-Change: remove"]
ODD_NUMBERS = [0, 1e9, 1e300, -1, float("nan"), float("inf"), 2**63, 10**12]
times = (
    st.integers(-90, 90)
    | st.integers(-(10**7), 10**7)
    | st.sampled_from(["1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "now"])
)
numbers = st.sampled_from(ODD_NUMBERS) | st.floats() | st.integers()
texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)
LARGE = "\u00e9x" * 2**19
"""A MiB and a half."""
counts = st.sampled_from([0, 1, 19, 20, 1000, 10**9, 10**12])
phases = st.sampled_from([phase.value for phase in AttemptPhase])
plausible = {
    "startTime": times,
    "endTime": times,
    "stints": st.lists(st.tuples(times, times), max_size=4),
    "progress": st.fixed_dictionaries({"step": counts, "totalSteps": counts}),
    "checkpoint": st.fixed_dictionaries({"uri": st.sampled_from(["s3://out/x", "store/../..", "/"]), "step": counts}),
    "energy": st.fixed_dictionaries(
        {"method": st.sampled_from(["nvml", "dcgm", "rapl", "estimate"]), "kwh": st.sampled_from([0, 0.1, 9, 1e300])},
        optional={"samples": st.tuples(st.sampled_from([1, 512]), times, st.sampled_from([0, 1e-9, 1e300]))},
    ),
    "sequence": counts,
    "message": st.sampled_from(ODD_TEXTS[3:]),
}
"""Fields that the API takes, whatever they say."""
odd = st.dictionaries(
    st.sampled_from([*plausible, "gpus", "pool", "phase", "attempt", "reason", "bootId", "observedCommit", "more"]),
    numbers | texts,
    max_size=1,
)
"""One that it may refuse."""


@st.composite
def identities(draw, jobs=JOBS):
    """What a report says that it is on: one attempt as it may stand in Git, or anything."""
    job, attempt = draw(st.sampled_from(jobs)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        return {"job": job, "attempt": attempt, "placement": (job, 1, attempt), "spoke": EVIL}
    return {
        "job": job,
        "attempt": draw(st.sampled_from([1, 2, 99, 1_000_000])),
        "placement": (draw(st.sampled_from(JOBS)), draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        "spoke": draw(st.sampled_from([EVIL, "no-osl-1", "us-oh-1", "x"])),
    }


@st.composite
def specs(draw, **more):
    """One report."""
    claims = {"pool": st.sampled_from(["a100", "h100"]), "gpus": st.sampled_from([1, 2, 10**9]), "phase": phases}
    said = draw(st.fixed_dictionaries(claims | {"observedAt": times} | more, optional=plausible))
    return said | draw(identities()) | {"odd": draw(st.just({}) | st.just({}) | odd)}


names = st.sampled_from(["a", "b", "c", "d"]) | st.sampled_from(JOBS)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "finalizers": st.sampled_from([["example.org/never"], ["x/y", "x/z"]]),
        "annotations": st.sampled_from([{"example.org/x": "x" * 200_000}, {"carbonfleet.dev/replace": "1"}]),
        "labels": st.sampled_from([{"carbonfleet.dev/job": "holds"}, {f"x{number}": "y" for number in range(1000)}]),
        "ownerReferences": st.sampled_from(JOBS),
        "resourceVersion": st.sampled_from(["1", "99999999"]),
    },
)
anything = st.recursive(st.none() | st.booleans() | st.floats() | texts, st.lists, max_leaves=5)
pools = st.fixed_dictionaries({"name": st.sampled_from(["a100", "h100"]), "freeGpus": st.sampled_from([0, 3, 10**9])})
conditions = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Ready", "ReportsValid", "ClockInSync", "AgentUnique", "Odd"]),
        "status": st.sampled_from(["True", "False", "Unknown"]),
        "reason": st.sampled_from(["Ready", "AsInGit", "Odd"]),
        "message": st.sampled_from(ODD_TEXTS[3:]),
        "lastTransitionTime": st.sampled_from(["1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z"]),
    }
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "heartbeatTime": times,
        "rivalTime": times,
        "syncedCommit": st.sampled_from(["a" * 40, "HEAD", "main", "../x", ""]),
        "pools": st.lists(pools, max_size=2, unique_by=lambda pool: pool["name"]),
        "free": st.sampled_from(ODD_TEXTS[3:]),
        "problems": st.lists(st.sampled_from(ODD_TEXTS[3:]), max_size=3),
        "holderIdentity": st.sampled_from(["", "another_1"]),
        "conditions": st.lists(conditions, max_size=4, unique_by=lambda condition: condition["type"]),
    },
)
odd_statuses = st.dictionaries(
    st.sampled_from(["pools", "conditions", "heartbeatTime", "problems", "more"]),
    anything | st.just(LARGE),
    max_size=2,
)
elsewhere = [
    ours("trainingreports", "spoke-no-osl-1"),
    ours("trainingreports", "spoke-no-osl-1", "holds"),
    ours("spokeclusters", name="no-osl-1", subresource="status"),
    ours("spokeclusters", name=EVIL),
    ours("carbontrainingjobs", NAMESPACE, "holds", "status"),
    path("api/v1", "events", NAMESPACE),
    path("api/v1", "resourcequotas", HOME, "reports"),
]
forbidden = st.tuples(st.sampled_from(["create", "patch", "delete"]), st.sampled_from(elsewhere))
actions = st.one_of(
    st.tuples(st.just("report"), specs(name=names)),
    st.tuples(st.just("report"), specs(name=names)),
    st.tuples(st.just("status"), statuses),
    st.tuples(st.just("status"), odd_statuses),
    st.tuples(st.just("flood"), specs(count=st.integers(20, 100))),
    st.tuples(st.just("junk"), anything | st.sampled_from([{"more": LARGE}, {"message": LARGE}, [LARGE] * 2])),
    st.tuples(st.just("dressed"), st.tuples(specs(name=names), metadata)),
    st.tuples(st.just("forbidden"), forbidden),
)
attacks = st.lists(st.tuples(st.integers(1, STEPS - 1), actions), min_size=1, max_size=25)


@dataclass(frozen=True, repr=False)
class World:
    """One world for all hours, and what came of the hour without an attack."""

    root: Path
    api: KubeApi
    untouched: list[object] = field(default_factory=list)

    def __repr__(self) -> str:
        return "world"  # Hypothesis prints it

    def lived(self, attack=(), **how):
        """What was seen in an hour of its own."""
        with tempfile.TemporaryDirectory(dir=self.root, ignore_cleanup_errors=True) as folder:
            hour = Hour.begin(Path(folder), self.api)
            try:
                return hour.run(attack, **how)
            finally:
                hour.close()

    def changes(self, attack) -> list[str]:
        """By what an hour with an attack differs."""
        before, after = (pformat(seen, width=120).splitlines() for seen in (self.untouched, self.lived(attack)))
        return [] if before == after else [*islice(unified_diff(before, after, lineterm="", n=2), 60)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    made = World(root, make_world(root / "api"))
    made.untouched.extend(made.lived(is_honest=True))
    return made


def test_the_hour_has_all_that_can_happen_to_a_job(world):
    *steps, changes = world.untouched
    assert {name: status["phase"] for name, status in steps[-1]["jobs"].items()} == {
        "holds": "Running",
        "trains": "Succeeded",
        "fails": "Failed",
        "later": "Running",
        "waits": "Waiting",
        "again": "Succeeded",
        "refused": "Succeeded",
        "anywhere": "Succeeded",
    }
    assert len(steps[-1]["ledger"]) >= 5
    once, twice = ["place 1", "remove 1"], ["place 1", "remove 1", "place 2", "remove 2"]
    assert changes == {
        **dict.fromkeys(("trains", "fails", "leaves", "anywhere"), once),
        **dict.fromkeys(("again", "refused"), twice),
        "holds": once[:1],
        "later": once[:1],
        "waits": [],
    }


def test_an_hour_is_the_same_each_time(world):
    assert world.changes(()) == []


ONCE_EACH = {"phases": [Phase.explicit, Phase.generate], "suppress_health_check": list(HealthCheck)}
"""An hour takes seconds: an attack that is found is told as it is."""


@settings(max_examples=3, **ONCE_EACH)
@given(attacks)
def test_a_spoke_in_other_hands_changes_nothing_for_others(world, attack):
    assert world.changes(attack) == []


@pytest.mark.soak
@settings(max_examples=100, **ONCE_EACH)
@given(attacks)
def test_whatever_a_spoke_in_other_hands_does_for_an_hour_changes_nothing_for_others(world, attack):
    assert world.changes(attack) == []
