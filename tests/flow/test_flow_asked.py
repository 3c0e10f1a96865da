"""Moves to which people must agree, with a real hub: killed at each step, refused, and overtaken by the job's end."""

from collections.abc import Iterator

import pytest
from test_flow_crashes import held_push

from carbonfleet.api.job_status import Phase
from fixtures.asked_moves import PATIENT, SHARED, ask_before_moving, close_oslo, open_oslo
from fixtures.hub_process import condition
from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.reviewed import Reviewed, agree_until, open_reviewed

pytestmark = pytest.mark.speed(240.0)
OTHERS = [pytest.param(kind, marks=pytest.mark.soak) for kind in ("gitlab", "gitea")]


@pytest.fixture(params=["github", *OTHERS])
def reviewed(request, own_api, tmp_path) -> Iterator[Reviewed]:
    """Jobs are under way in Quebec, and Oslo, which is cleaner, has just been opened."""
    with open_reviewed(tmp_path / "stack", own_api, request.param) as made:
        ask_before_moving(made.stack)
        close_oslo(made.stack)
        yield made


def under_way(reviewed: Reviewed, *names: str) -> None:
    """Jobs that run in Quebec, and would be cleaner in Oslo."""
    for name in names:
        reviewed.stack.submit(name, "train", duration="48h", schedule=PATIENT, workload=SHARED)
    for name in names:
        assert reviewed.stack.wait(name, Phase.RUNNING).status.cluster == "ca-qc-1"
    open_oslo(reviewed.stack)


def starts(reviewed: Reviewed, name: str) -> list[tuple[int, str]]:
    return [(attempt, cluster) for job, attempt, cluster in reviewed.stack.spokes.starts if job == name]


def moved_once(reviewed: Reviewed, name: str) -> None:
    """One attempt at a time, in order; people may have been asked again where the clock was faster than they."""
    assert starts(reviewed, name) == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert reviewed.stack.spokes.violations == []
    changes = [change for change in reviewed.stack.changes(name) if change not in ("move 2", "lapse 2")]
    assert changes == ["place 1", "remove 1", "place 2"]
    assert reviewed.stack.changes(name).count("move 2") == reviewed.stack.changes(name).count("lapse 2") + 1
    assert condition(reviewed.stack.job(name), "Approved").reason == "Merged"


def runs_in_oslo(reviewed: Reviewed, name: str) -> bool:
    job = reviewed.stack.job(name)
    return job is not None and (job.status.attempt, job.status.phase) == (2, Phase.RUNNING)


@pytest.mark.timeout(600)
def test_a_hub_killed_at_each_step_of_a_move_that_people_agree_to_moves_the_job_once(reviewed):
    under_way(reviewed, "asked")
    with reviewed.held("after", "POST") as reached:
        assert reached.wait(PATIENCE)
        reviewed.kill()
    assert (reviewed.stack.phase("asked"), reviewed.created_for("asked")) == (Phase.RUNNING, 1)
    reviewed.start()
    eventually(lambda: condition(reviewed.stack.job("asked"), "Running").reason == "MoveProposed")
    with held_push(reviewed.stack, "post-receive", "remove") as reached:
        agree_until(reviewed, "asked", reached.exists)
        reviewed.kill()
    with held_push(reviewed.stack, "pre-receive", "place") as reached:
        reviewed.start()
        agree_until(reviewed, "asked", reached.exists)
        reviewed.kill()
        (reached.parent / "abort").touch()
    reviewed.start()
    agree_until(reviewed, "asked", lambda: runs_in_oslo(reviewed, "asked"))
    moved_once(reviewed, "asked")
    assert reviewed.stack.told("asked", "MoveProposed")
    assert reviewed.stack.told("asked", "Moving")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_people_say_yes_and_no_and_come_too_late_while_jobs_run(reviewed):
    under_way(reviewed, "yes", "no", "ends")
    eventually(lambda: all(reviewed.open_pull(name) for name in ("yes", "no", "ends")))
    refused, overtaken = reviewed.open_pull("no"), reviewed.open_pull("ends")
    reviewed.forge.close(refused)
    reviewed.stack.spokes.behaviours["ends"] = "succeed"
    agree_until(reviewed, "yes", lambda: runs_in_oslo(reviewed, "yes"))
    moved_once(reviewed, "yes")
    reviewed.stack.wait_reason("no", "Running", "MoveRejected")
    reviewed.stack.wait("ends", Phase.SUCCEEDED)
    eventually(lambda: overtaken.state == "closed")
    assert overtaken.said == ["Superseded: the job has ended."]
    reviewed.kill()
    reviewed.start()
    eventually(lambda: reviewed.stack.log().count("leading as") == 2)
    reviewed.stack.spokes.behaviours["no"] = "succeed"
    reviewed.stack.wait("no", Phase.SUCCEEDED)
    assert (starts(reviewed, "no"), starts(reviewed, "ends")) == ([(1, "ca-qc-1")], [(1, "ca-qc-1")])
    assert reviewed.created_for("no") == 1
    assert reviewed.stack.spokes.violations == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_move_that_nobody_agrees_to_in_time_is_asked_for_anew(reviewed):
    under_way(reviewed, "slow")
    eventually(lambda: reviewed.open_pull("slow"))
    first = reviewed.open_pull("slow")
    eventually(lambda: reviewed.open_pull("slow") not in (None, first))
    assert first.said == ["Superseded: the hours it was made for have passed."]
    agree_until(reviewed, "slow", lambda: runs_in_oslo(reviewed, "slow"))
    moved_once(reviewed, "slow")
