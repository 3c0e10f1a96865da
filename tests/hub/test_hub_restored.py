"""Jobs that come back from a backup: what has ended is not run a second time."""

from collections.abc import Iterator

import pytest
from hub_values import body, observation, state

from carbonfleet.api import ANNOTATION
from carbonfleet.api.job_status import Phase
from carbonfleet.hub.observe import end_note, ended_before
from carbonfleet.hub.observe.job_state import JobStates
from carbonfleet.kube import ours
from fixtures.in_process_hub import NAMESPACE, InProcessHub, open_in_process_hub

JOBS = ours("carbontrainingjobs", NAMESPACE)


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[InProcessHub]:
    """A stack on which jobs run to their end."""
    stack = open_in_process_hub(tmp_path_factory.mktemp("restored"))
    yield stack
    stack.close()


def run_to_its_end(hub, name, behaviour="train"):
    """The job's object once it has ended and the hub has let it go."""
    hub.submit(name, behaviour)
    hub.until(name, Phase.SUCCEEDED, Phase.FAILED)
    hub.settle()
    return hub.kube.get(f"{JOBS}/{name}")


def restore(hub, saved, name=None):
    """As Velero does: the same metadata but for what the API gives, and no status; all of the hub's memory is lost."""
    kept = {
        key: saved["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in saved["metadata"]
    }
    if name is None:
        hub.kube.delete(f"{JOBS}/{saved['metadata']['name']}")
    hub.restart()
    metadata = kept | ({"name": name} if name else {})
    hub.kube.create(JOBS, {**saved, "metadata": metadata, "status": {}})
    hub.settle()


def placed(hub, name):
    return [change for change in hub.changes(name) if change.startswith("place")]


def test_a_job_that_a_backup_brings_back_without_its_status_runs_only_when_it_is_asked_to(hub):
    saved = run_to_its_end(hub, "kept")
    assert saved["metadata"]["annotations"][ANNOTATION.ENDED].startswith("kept Succeeded 1 ")
    restore(hub, saved)
    hub.forward(60)
    back = hub.job("kept")
    assert (back.status.phase, placed(hub, "kept")) == (Phase.REJECTED, ["place 1"])
    ready = next(each for each in back.status.conditions if each.type == "Ready")
    assert (ready.reason, "had ended as Succeeded in attempt 1" in back.status.summary) == ("EndedBefore", True)
    hub.kube.patch(f"{JOBS}/kept", {"metadata": {"annotations": {ANNOTATION.REPLACE: "again"}}})
    hub.settle()
    assert hub.until("kept", Phase.SUCCEEDED).status.phase is Phase.SUCCEEDED
    assert len(placed(hub, "kept")) == 2


def test_a_copy_under_another_name_is_a_job_of_its_own(hub):
    saved = run_to_its_end(hub, "first")
    restore(hub, saved, name="second")
    assert hub.until("second", Phase.SUCCEEDED).status.attempt == 1


def test_a_job_that_is_restored_while_it_waits_is_planned_as_any_other(hub):
    hub.submit("waits", schedule={"earliestStart": "2026-03-01T00:00:00Z", "maxDelay": "24h"})
    saved = hub.kube.get(f"{JOBS}/waits")
    restore(hub, saved)
    assert hub.job("waits").status.phase in (Phase.WAITING, Phase.BLOCKED)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "train",
        "other Succeeded 1",
        "train Running 1",
        "train Succeeded 1\n",
        "train Succeeded x",
        "train Succeeded",
    ],
)
def test_a_note_that_the_hub_did_not_write_holds_nothing(note):
    digest = note_of({}).split(" ")[-1]
    for written in (note, f"{note} {digest}", f"{digest} {note}"):
        seen = observation(state(annotations={ANNOTATION.ENDED: written}))
        assert seen.queued() == list(seen.jobs)


def note_of(annotations, phase="Failed", attempt=3):
    """What the hub notes of the usual job that has ended."""
    return end_note(state({"phase": phase, "attempt": attempt}, annotations=annotations))


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_terminal])
def test_a_note_of_any_end_holds_a_job_without_a_status(phase):
    assert observation(state(annotations={ANNOTATION.ENDED: note_of({}, phase)})).queued() == []


def test_a_note_of_the_hub_holds_a_job_without_a_status_until_it_is_asked_for_or_changed():
    note = {ANNOTATION.ENDED: note_of({})}
    assert ended_before(state(annotations=note)) == "Failed 3"
    asked = observation(state(annotations=note | {ANNOTATION.REPLACE: "1"}))
    assert asked.queued() == list(asked.jobs)
    changed = body(annotations=note)
    changed["spec"]["resources"]["duration"] = "3h"
    seen = observation(*JobStates().of([changed], {}, {}))
    assert seen.queued() == list(seen.jobs)


def test_a_job_that_ended_after_it_was_asked_for_again_is_held_all_the_same():
    """The annotation comes back with the backup, and what was done about it stood in the status alone."""
    asked = {ANNOTATION.REPLACE: "once more"}
    back = state(annotations=asked | {ANNOTATION.ENDED: note_of(asked)})
    assert observation(back).queued() == []


def test_a_note_of_a_release_that_knew_fewer_fields_holds_too():
    """The API fills a new field's default in when it reads."""
    filled = body(annotations={ANNOTATION.ENDED: note_of({})})
    filled["spec"]["schedule"] = {"maxDelay": None}
    filled["spec"]["review"] = "auto"
    assert observation(*JobStates().of([filled], {}, {})).queued() == []
