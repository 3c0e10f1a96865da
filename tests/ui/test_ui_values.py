"""Whatever an object holds, the page has a row of it, and says what can't be read."""

import copy
from collections.abc import Iterator

import pytest

from carbonfleet.ui.values import UNREADABLE, attempt_row, job_row, spoke_row
from fixtures.hub_process import job_body

ODD = (None, True, -1, 10**400, 1e308, "", "x" * 10_000, "\ud800", "\u202e<script>", [], [None], {}, {"a": {}})
AT = "2026-01-01T00:00:00Z"
JOB = job_body("runs", "team-a") | {
    "status": {
        "phase": "Running",
        "summary": "Trains.",
        "attempt": 1,
        "start": AT,
        "conditions": [
            {"type": "Running", "status": "True", "reason": "Training", "message": "m", "lastTransitionTime": AT}
        ],
        "progress": {"step": 3, "totalSteps": 9},
    }
}
POOL = {"name": "a100", "gpuType": "A100", "gpus": 4, "memoryGib": 80}
SPOKE = {
    "metadata": {"name": "no-osl-1", "uid": "u"},
    "spec": {"name": "no-osl-1", "region": "r", "zone": "NO-NO1", "jurisdictions": ["EEA"], "pools": [POOL]},
    "status": {"problems": ["p"], "conditions": []},
}
REPORT = {
    "metadata": {"name": "r", "namespace": "spoke-no-osl-1", "uid": "u"},
    "spec": {
        "job": {"namespace": "team-a", "name": "runs", "uid": "j"},
        "attempt": 1,
        "spoke": "no-osl-1",
        "phase": "Running",
        "placementId": "0123456789abcdef",
        "pool": "a100",
        "gpus": 1,
        "observedAt": AT,
    },
}


def paths(node: object, path: tuple = ()) -> Iterator[tuple]:
    """Where anything stands, at every depth."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def with_odd(body: dict, path: tuple, odd: object) -> dict:
    made = copy.deepcopy(body)
    node = made
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = odd
    return made


@pytest.mark.parametrize(("row", "body"), [(job_row, JOB), (spoke_row, SPOKE), (attempt_row, REPORT)])
def test_whatever_stands_in_an_object_there_is_a_row_of_it(row, body):
    for path in paths(body):
        for odd in ODD:
            row(with_odd(body, path, odd))
    for odd in ODD:
        row(odd)


def test_what_is_whole_is_read():
    assert [job_row(JOB).phase, spoke_row(SPOKE).zone, attempt_row(REPORT).cluster] == ["Running", "NO-NO1", "no-osl-1"]


def test_a_job_that_can_not_be_read_is_named_and_says_what_is_wrong():
    broken = job_row(with_odd(JOB, ("spec", "resources", "gpus"), "many"))
    assert (broken.key, broken.phase) == ("team-a/runs", UNREADABLE)
    assert "spec.resources.gpus" in broken.summary
