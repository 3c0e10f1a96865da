"""What a status says to do about a hold, done: it ends well, and no second attempt ever lives."""

import sqlite3
from pathlib import Path

from carbonfleet.api import SpokeStatus
from carbonfleet.api.job_status import Phase
from carbonfleet.kube import ours
from carbonfleet.spoke.report import HubLink
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub


def rename(hub: ReviewedHub, old: str, new: str, *, jobs: bool = True) -> None:
    """A person gives a cluster another name: its folder with all that is in it, or without its jobs."""

    def act(work: Path) -> None:
        (work / "clusters" / old).rename(work / "clusters" / new)
        file = work / "clusters" / new / "cluster.yaml"
        file.write_text(file.read_text().replace(f"name: {old}", f"name: {new}"))
        for placement in () if jobs else (work / "clusters" / new / "jobs").rglob("*.yaml"):
            placement.unlink()

    hub.stack.change("Rename the cluster", act)


def beat(hub: ReviewedHub, minutes: int = 2) -> None:
    """Time goes by, and the agent of no-osl-1 beats, whatever Git says of it."""
    HubLink(hub.stack.kube, "no-osl-1").beat(SpokeStatus(heartbeat_time=hub.clock.now()))
    hub.step(minutes=minutes)


def ready(hub: ReviewedHub) -> str:
    return condition(hub.stack.job("runs"), "Ready").message


def in_the_way(hub: ReviewedHub) -> None:
    """A job runs, its cluster is renamed, and its author asks for the placement again as its status says."""
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    rename(hub, "no-osl-1", "no-osl-2")
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    for _ in range(3):
        beat(hub)


def test_a_renamed_cluster_is_ended_by_giving_its_folder_back(hub):
    in_the_way(hub)
    assert "bring that folder back, under that very name" in ready(hub)
    rename(hub, "no-osl-2", "no-osl-1", jobs=False)
    hub.step(times=4, minutes=1)
    assert hub.phase("runs") is Phase.RUNNING
    assert [start[:2] for start in hub.stack.spokes.starts] == [("runs", 1), ("runs", 2)]
    assert hub.stack.spokes.violations == []


def test_a_folder_that_comes_back_with_its_jobs_lets_the_attempt_go_on(hub):
    in_the_way(hub)
    rename(hub, "no-osl-2", "no-osl-1")
    hub.step(times=3, minutes=1)
    assert hub.phase("runs") is Phase.RUNNING
    assert [start[:2] for start in hub.stack.spokes.starts] == [("runs", 1)]


def test_a_spoke_that_reports_is_alive_though_it_does_not_beat(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    rename(hub, "no-osl-1", "no-osl-2")
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    [report] = hub.stack.kube.list(ours("trainingreports", "spoke-no-osl-1"))[0]
    where = ours("trainingreports", "spoke-no-osl-1", report["metadata"]["name"])
    for minute in range(3):
        hub.clock.forward(minutes=11)
        hub.stack.kube.patch(where, {"spec": {"message": f"step {minute}"}})
        hub.step(seconds=1)
        assert "silent" not in ready(hub)
    hub.step(times=2, minutes=11)
    assert "that spoke is silent; if it is gone for good and nothing runs there" in ready(hub)


def test_a_spoke_that_is_gone_is_ended_by_doing_what_the_status_says(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    hub.stack.spokes.silent.add("no-osl-1")
    hub.stack.remove("It is gone", *hub.stack.placements("runs"))
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    hub.step(times=2, minutes=30)
    assert "remove its folder clusters/no-osl-1 from Git and delete trainingreport" in ready(hub)
    name = ready(hub).partition("delete trainingreport ")[2].split()[0]
    hub.stack.remove("It is gone", "clusters/no-osl-1/cluster.yaml")
    hub.stack.kube.delete(ours("trainingreports", "spoke-no-osl-1", name))
    hub.step(times=4, minutes=1)
    assert hub.phase("runs") is Phase.RUNNING
    assert [start[1:] for start in hub.stack.spokes.starts][1:] == [(2, hub.stack.job("runs").status.placement.cluster)]


def test_a_cluster_that_is_declared_again_is_ready(hub):
    def spoke() -> tuple[str, str]:
        conditions = hub.stack.kube.get(ours("spokeclusters", name="no-osl-1"))["status"]["conditions"]
        found = next(each for each in conditions if each["type"] == "Ready")
        return found["reason"], found["message"]

    rename(hub, "no-osl-1", "no-osl-2")
    beat(hub)
    assert spoke()[0] == "NotDeclared"
    assert "Add it, or delete this object once the spoke is gone" in spoke()[1]
    rename(hub, "no-osl-2", "no-osl-1")
    hub.step(times=2, minutes=1)
    assert spoke()[0] == "Ready"


def test_a_job_goes_on_once_the_file_in_its_way_is_removed(hub):
    where = hub.stack.namespace
    for number in range(7):
        hub.stack.submit(f"gone-{number}", behaviour="hold")
    hub.step(times=3, minutes=1)
    for number in range(7):
        hub.stack.delete(f"gone-{number}")
        hub.stack.kube.patch(ours("carbontrainingjobs", where, f"gone-{number}"), {"metadata": {"finalizers": None}})
    hub.stack.submit("gone-0")
    hub.step(times=2, minutes=1)
    assert hub.reason("gone-0", "Committed") == "PathTaken"
    assert "remove the file from Git" in condition(hub.stack.job("gone-0"), "Committed").message
    hub.stack.remove("It is gone", *hub.stack.placements("gone-0"))
    hub.step(times=4, minutes=1)
    assert hub.phase("gone-0") is Phase.SUCCEEDED


def test_a_job_that_was_not_proposed_for_lack_of_patience_is_within_the_hour(hub):
    for number in range(7):
        hub.stack.submit(f"asked-{number}", review="required")
    hub.step(minutes=1)
    [last] = [f"asked-{number}" for number in range(7) if hub.reason(f"asked-{number}") == "TooManyProposals"]
    assert "the next is, by itself, after" in condition(hub.stack.job(last), "Approved").message
    hub.step(minutes=61)
    assert hub.phase(last) is Phase.PROPOSED


def test_an_attempt_that_can_not_be_accounted_waits_for_its_ledger(hub):
    hub.stack.submit("ends", behaviour="hold")
    hub.step(times=3, minutes=1)
    [ledger] = (hub.stack.root / f"state-{hub.restarts}").glob("ledger*.sqlite")
    hub.stack.spokes.finish("ends")
    with sqlite3.connect(ledger, isolation_level=None) as another:
        another.execute("BEGIN EXCLUSIVE")
        hub.step(minutes=1)
        assert hub.reason("ends", "Committed") == "NotAccounted"
        assert "see that the ledger can be written" in condition(hub.stack.job("ends"), "Committed").message
        another.execute("ROLLBACK")
    hub.step(times=2, minutes=1)
    assert hub.phase("ends") is Phase.SUCCEEDED


def test_a_job_that_was_blocked_is_placed_once_its_spec_allows_it(hub):
    hub.stack.submit("mistaken", schedule={"maxDelay": "0s", "deadline": "2020-01-01T00:00:00Z"})
    hub.step(times=2, minutes=1)
    assert (hub.phase("mistaken"), hub.stack.placements("mistaken")) == (Phase.BLOCKED, [])
    hub.stack.patch_spec("mistaken", {"schedule": {"deadline": None}})
    hub.step(times=4, minutes=1)
    assert hub.phase("mistaken") is Phase.SUCCEEDED


def test_a_person_s_file_in_a_job_s_place_is_written_over_once_the_job_is_asked_to(hub):
    file = f"clusters/no-osl-1/jobs/{hub.stack.namespace}/touched.yaml"

    def act(work: Path) -> None:
        (work / file).parent.mkdir(parents=True)
        (work / file).write_text("kind: Nonsense\n")

    hub.stack.change("Begin a job by hand", act)
    hub.stack.submit("touched")
    hub.step(times=2, minutes=1)
    assert hub.reason("touched", "Committed") == "EditedByHuman"
    hub.stack.annotate("touched", "carbonfleet.dev/replace", "1")
    hub.step(times=4, minutes=1)
    assert hub.phase("touched") is Phase.SUCCEEDED


def test_a_job_whose_proposal_a_person_edited_is_proposed_anew_with_its_next_spec(hub):
    pull = hub.propose("theirs")
    person = hub.stack.git.checkout()
    person.run("checkout", "--quiet", "-b", "mine", f"origin/{pull.branch}")
    (person.path / "NOTES.md").write_text("looked at")
    person.run("add", "--all")
    person.run("commit", "--quiet", "-m", "Look here")
    person.run("push", "--quiet", "origin", f"HEAD:{pull.branch}")
    hub.step(minutes=1)
    assert hub.reason("theirs") == "HumanEdited"
    hub.stack.patch_spec("theirs", {"resources": {"duration": "45m"}})
    hub.step(times=2, minutes=1)
    assert (hub.phase("theirs"), hub.forge.created, pull.state) == (Phase.PROPOSED, 2, "open")


def test_a_job_that_changed_while_it_ran_runs_as_changed_once_it_is_made_anew(hub):
    hub.stack.submit("changed", behaviour="hold")
    hub.step(times=3, minutes=1)
    hub.stack.patch_spec("changed", {"resources": {"gpus": 2}})
    hub.step(minutes=1)
    assert hub.reason("changed", "Accepted") == "ChangedWhileRunning"
    hub.stack.delete("changed")
    hub.step(times=4, minutes=1)
    assert hub.phase("changed") is None
    hub.stack.submit("changed", behaviour="hold", resources={"duration": "30m", "gpus": 2})
    hub.step(times=3, minutes=1)
    [placement] = hub.connections.repository.fetch().placements.values()
    assert (hub.phase("changed"), placement.gpus) == (Phase.RUNNING, 2)
    assert hub.stack.spokes.violations == []


def test_a_job_that_the_server_refused_is_placed_once_the_server_allows_it(hub):
    hub.stack.git.hook("pre-receive", "echo 'GH006: Protected branch update failed' >&2; exit 1")
    hub.stack.submit("held")
    hub.step(times=2, minutes=2)
    assert hub.reason("held", "Committed") == "DirectPushForbidden"
    hub.stack.git.unhook("pre-receive")
    hub.step(times=4, minutes=2)
    assert hub.phase("held") is Phase.SUCCEEDED


def test_a_spoke_that_was_silent_is_ready_once_its_agent_beats(hub):
    def reason() -> str:
        conditions = hub.stack.kube.get(ours("spokeclusters", name="no-osl-1"))["status"]["conditions"]
        return next(each["reason"] for each in conditions if each["type"] == "Ready")

    hub.stack.spokes.silent.add("no-osl-1")
    hub.step(minutes=1)
    hub.step(minutes=20)
    assert reason() == "Unreachable"
    hub.stack.spokes.silent.clear()
    hub.step(times=2, minutes=1)
    assert reason() == "Ready"
