"""A status that can't be read, or says something else than the hub wrote: no job runs a second time by it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hub_values import UID, body, observation, report
from mutations_of_status import VALUES, places, put

from carbonfleet.api import ANNOTATION
from carbonfleet.api.job_status import Phase, read_status
from carbonfleet.hub.observe import JobStage, JobState, end_note
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.hub.status.blockers import blockers_of
from carbonfleet.hub.status.status import needs_update, status_of
from carbonfleet.hub.status.status_inputs import StatusInputs
from carbonfleet.kube import ours
from fixtures.in_process_hub import NAMESPACE, InProcessHub, open_in_process_hub

JOBS = ours("carbontrainingjobs", NAMESPACE)
PLACED = {
    "cluster": "no-osl-1",
    "pool": "a100",
    "attempt": 1,
    "placementId": "abcdefgh12345678",
    "start": "2026-01-31T12:00:00Z",
    "path": "clusters/no-osl-1/jobs/ml/train.yaml",
}
WRITTEN = {
    "observedGeneration": 1,
    "summary": "Trained.",
    "attempt": 1,
    "replaced": "once more",
    "placement": PLACED,
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Succeeded", "lastTransitionTime": "2026-01-31T12:00:00Z"}
    ],
    "logs": [{"attempt": 1, "cluster": "no-osl-1", "phase": "Succeeded", "uri": "/logs/1"}],
    "recheckAt": "2026-01-31T12:00:00Z",
    "saved": "812 g (94 %)",
}
ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED_EARLY, Phase.REJECTED, Phase.CANCELLED)


def seen(status: Any, note: str, said: str = "") -> JobState:
    """The job as the hub sees it; `said` is the phase that its spoke reports."""
    annotations = {ANNOTATION.REPLACE: "once more"} | ({ANNOTATION.ENDED: note} if note else {})
    given = body(annotations=annotations)
    given["status"] = status
    return JobStates().of([given], {}, {UID: report(said)} if said else {})[0]


def ended(phase: Phase) -> tuple[dict[str, Any], str]:
    """The status of a job that is over, and the hub's note of it."""
    status = {"phase": phase.value, **WRITTEN}
    return status, end_note(seen(status, ""))


def later(state: JobState) -> JobState:
    """The job after what the hub writes of it, as the API merges that."""
    moment = observation(state, unseen=frozenset({UID}))
    inputs = StatusInputs(state, blocker=blockers_of(moment, (), None, None).get(UID))
    new = status_of(inputs, moment.now)
    return state if not needs_update(state.status, new, moment.now) else state.showing(new)


@pytest.mark.parametrize("said", ["", "Stopped", "Succeeded"])
@pytest.mark.parametrize("phase", ENDS)
def test_no_value_in_any_field_of_a_status_makes_an_ended_job_wait_to_be_placed(phase, said):
    """With nothing else that keeps it: nothing of it stands in Git, and its spoke is known to have stopped it."""
    status, note = ended(phase)
    placed = []
    for place in places(status):
        for value in VALUES:
            state = seen(put(status, place, value), note, said)
            for _ in range(2):
                if observation(state, unseen=frozenset({UID})).queued():
                    placed.append((place, value))
                state = later(state)
    assert placed == []


@pytest.mark.parametrize("value", [5, "Succeeded", [], True])
def test_a_status_that_is_none_holds_its_job(value):
    assert seen(value, "").stage is JobStage.UNREADABLE


def test_what_can_be_read_of_a_status_is_kept():
    status, _ = ended(Phase.SUCCEEDED)
    log = status["logs"][0]
    damaged = status | {"logs": [log | {"phase": "Hibernating"}, log], "summary": "x" * 5000, "fromTomorrow": {"a": 1}}
    found, problems = read_status(damaged)
    whole, _ = read_status(status)
    assert found == whole.model_copy(update={"summary": ""})
    assert problems.keys() == {"logs", "summary", "fromTomorrow"}


def test_a_job_that_stands_in_git_is_followed_there_and_its_status_written_anew(hub):
    hub.submit("runs")
    hub.until("runs", Phase.RUNNING)
    damage(hub, "runs", ("phase",), "Hibernating")
    hub.settle()
    assert hub.job("runs").status.phase is Phase.RUNNING
    assert hub.until("runs", Phase.SUCCEEDED).status.attempt == 1
    assert placed(hub, "runs") == ["place 1"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[InProcessHub]:
    """A stack whose API takes any status, as one that another release's definitions let in."""
    stack = open_in_process_hub(tmp_path_factory.mktemp("damaged"))
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/carbontrainingjobs.carbonfleet.dev"
    definition = stack.kube.get(where)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["status"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    stack.kube.replace(where, definition)
    yield stack
    stack.close()


def placed(hub, name):
    return [change for change in hub.changes(name) if change.startswith("place")]


def damage(hub, name, place, value):
    body = hub.kube.get(f"{JOBS}/{name}")
    hub.kube.replace(f"{JOBS}/{name}/status", {**body, "status": put(body["status"], place, value)})


@pytest.mark.parametrize("with_note", [True, False])
def test_a_job_whose_phase_nobody_knows_is_held_with_its_status_and_goes_on_once_it_can_be_read(hub, with_note):
    name = f"kept-{with_note}".lower()
    hub.submit(name)
    hub.until(name, Phase.SUCCEEDED)
    hub.settle()
    if not with_note:
        hub.kube.patch(f"{JOBS}/{name}", {"metadata": {"annotations": {ANNOTATION.ENDED: None}}})
    before = hub.kube.get(f"{JOBS}/{name}")["status"]
    damage(hub, name, ("phase",), "Hibernating")
    hub.forward(60)
    held = hub.kube.get(f"{JOBS}/{name}")["status"]
    decisive = ("observedGeneration", "attempt", "placement", "replaced")
    assert (held["phase"], placed(hub, name)) == ("Hibernating", ["place 1"])
    assert [held.get(key) for key in decisive] == [before.get(key) for key in decisive]
    [ready] = [each for each in held["conditions"] if each["type"] == "Ready"]
    assert (ready["reason"], "phase" in ready["message"]) == ("StatusUnreadable", True)
    damage(hub, name, ("phase",), "Succeeded")
    hub.forward(60)
    assert (hub.job(name).status.phase, placed(hub, name)) == (Phase.SUCCEEDED, ["place 1"])


def test_a_held_job_can_be_deleted_and_made_anew_under_another_name(hub):
    hub.submit("lost")
    hub.until("lost", Phase.SUCCEEDED)
    damage(hub, "lost", ("attempt",), "one")
    hub.settle()
    body = copy.deepcopy(hub.kube.get(f"{JOBS}/lost"))
    hub.kube.delete(f"{JOBS}/lost")
    hub.settle()
    assert "lost" not in [each["metadata"]["name"] for each in hub.kube.list(JOBS)[0]]
    kept = {key: body["metadata"][key] for key in ("namespace", "annotations")}
    hub.kube.create(JOBS, {**body, "metadata": {**kept, "name": "found"}, "status": {}})
    hub.settle()
    assert hub.until("found", Phase.SUCCEEDED).status.attempt == 1
