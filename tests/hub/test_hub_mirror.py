"""The copy of the API: what wakes the hub, and what must not come back."""

import pytest
from hub_values import body

from carbonfleet.hub.observe import JOBS, REPORTS, SPOKES, Mirror
from carbonfleet.kube import Kube, ours, path
from fixtures.hub_process import job_body


def at(version, **changes):
    """A job at a resource version."""
    made = body(**changes)
    made["metadata"]["resourceVersion"] = str(version)
    return made


def is_woken(mirror):
    """Whether the mirror asked for a cycle since last asked."""
    woken = mirror.changed.is_set()
    mirror.changed.clear()
    return woken


def test_what_people_do_wakes_the_cycle_and_our_own_status_does_not():
    mirror = Mirror()
    mirror.put(JOBS, at(1))
    assert is_woken(mirror)
    mirror.put(JOBS, at(2, status={"phase": "Waiting"}))
    assert not is_woken(mirror)
    mirror.put(JOBS, at(3, generation=2))
    assert is_woken(mirror)
    mirror.put(JOBS, at(4, generation=2, annotations={"carbonfleet.dev/replace": "1"}))
    assert is_woken(mirror)
    mirror.put(JOBS, at(5, generation=2, annotations={"carbonfleet.dev/replace": "1"}, deletionTimestamp="now"))
    assert is_woken(mirror)


def test_of_a_report_s_metadata_nothing_is_kept_but_its_address():
    mirror = Mirror()
    address = {"name": "a", "namespace": "spoke-x", "uid": "u", "resourceVersion": "3"}
    written = {"annotations": {"a": "x" * 200_000}, "managedFields": [{}], "finalizers": ["x/y"], "labels": {"a": "b"}}
    mirror.put(REPORTS, {"metadata": address | written, "spec": {"attempt": 1}})
    assert mirror.all(REPORTS) == [{"metadata": address, "spec": {"attempt": 1}}]


@pytest.mark.parametrize("bring", ["put", "refresh"])
def test_of_a_job_all_is_kept_but_who_wrote_which_field(bring):
    mirror = Mirror()
    mirror.put(JOBS, at(1))
    getattr(mirror, bring)(JOBS, at(2, managedFields=[{"manager": "x"}], labels={"a": "b"}))
    assert mirror.all(JOBS) == [at(2, labels={"a": "b"})]


def test_what_a_full_read_finds_unchanged_stays_the_very_same_object(hub_api):
    kube, mirror, jobs = Kube.connect(hub_api.kubeconfig), Mirror(), ours("carbontrainingjobs", "mirrored")
    kube.create(path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": "mirrored"}})
    for name in ("same", "changed", "gone"):
        kube.create(jobs, job_body(name, "mirrored"))
    mirror.resync(kube)
    before = {body["metadata"]["name"]: body for body in mirror.all(JOBS)}
    kube.patch(f"{jobs}/changed", {"metadata": {"labels": {"a": "b"}}})
    kube.delete(f"{jobs}/gone")
    mirror.resync(kube)
    after = {body["metadata"]["name"]: body for body in mirror.all(JOBS) if body["metadata"]["namespace"] == "mirrored"}
    for name in after:
        kube.delete(f"{jobs}/{name}")  # other tests' hubs are on this API, too
    assert after.keys() == {"same", "changed"}
    assert after["same"] is before["same"]
    assert after["changed"]["metadata"]["labels"] == {"a": "b"}


def test_an_older_version_changes_nothing():
    mirror = Mirror()
    mirror.put(JOBS, at(5, generation=3))
    is_woken(mirror)
    mirror.put(JOBS, at(4, generation=2))
    assert not is_woken(mirror)
    assert mirror.all(JOBS)[0]["metadata"]["generation"] == 3


def test_the_answer_to_a_write_does_not_revive_what_was_deleted():
    mirror = Mirror()
    mirror.put(JOBS, at(1))
    mirror.drop(JOBS, at(2))
    mirror.refresh(JOBS, at(3))
    assert mirror.all(JOBS) == []


def test_a_heartbeat_alone_wakes_nobody_and_a_synced_commit_does():
    mirror = Mirror()

    def spoke(version, **status):
        return {"metadata": {"name": "a", "uid": "a", "resourceVersion": str(version)}, "spec": {}, "status": status}

    mirror.put(SPOKES, spoke(1, heartbeatTime="one"))
    is_woken(mirror)
    mirror.put(SPOKES, spoke(2, heartbeatTime="two"))
    assert not is_woken(mirror)
    mirror.put(SPOKES, spoke(3, heartbeatTime="two", syncedCommit="c"))
    assert is_woken(mirror)


@pytest.mark.parametrize(
    ("reason", "wakes"), [("Unreachable", True), ("NeverJoined", True), ("Maintenance", False), ("Ready", False)]
)
def test_a_heartbeat_of_a_spoke_that_was_not_heard_wakes_the_cycle(reason, wakes):
    mirror = Mirror()
    conditions = [{"type": "ReportsValid", "reason": "AsInGit"}, {"type": "Ready", "reason": reason}]
    for version, time in (("1", "one"), ("2", "two")):
        is_woken(mirror)
        metadata = {"name": "a", "uid": "a", "resourceVersion": version}
        mirror.put(SPOKES, {"metadata": metadata, "status": {"conditions": conditions, "heartbeatTime": time}})
    assert is_woken(mirror) == wakes
