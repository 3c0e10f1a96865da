"""Moves to which people must agree: asked while the job runs on, made once after a yes, and never after a no."""

import pytest

from carbonfleet.api.job_status import Phase
from fixtures.asked_moves import PATIENT, SHARED, ask_before_moving, close_oslo, open_oslo
from fixtures.forge_server import Pull
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

CLOSED_QUEBEC = "jurisdictions: [CA]\n    maintenance: true"
ONCE = ["place 1", "move 2", "remove 1", "place 2", "remove 2"]


@pytest.fixture
def desk(request, hub_api, tmp_path):
    """A hub and a forge, where Oslo is under maintenance until a job runs in Quebec."""
    made = ReviewedHub.open(tmp_path / "stack", hub_api, getattr(request, "param", "github"))
    ask_before_moving(made.stack)
    close_oslo(made.stack)
    yield made
    made.close()


OTHERS = [pytest.param(kind, marks=pytest.mark.soak) for kind in ("gitlab", "gitea")]
every_forge = pytest.mark.parametrize("desk", ["github", *OTHERS], indirect=True)


def run(desk: ReviewedHub, name: str) -> None:
    """A job that runs in Quebec; Oslo is open again."""
    desk.stack.submit(name, "train", duration="8h", schedule=PATIENT, workload=SHARED)
    desk.step(times=2)
    assert (desk.phase(name), desk.stack.job(name).status.cluster) == (Phase.RUNNING, "ca-qc-1")
    open_oslo(desk.stack)


def ask(desk: ReviewedHub, name: str) -> Pull:
    """The pull request about moving a job that has run for an hour."""
    run(desk, name)
    desk.step(hours=1, minutes=15)
    return desk.pull(name)


def starts(desk: ReviewedHub, name: str) -> list[tuple[int, str]]:
    return [(attempt, cluster) for job, attempt, cluster in desk.stack.spokes.starts if job == name]


def moved_once(desk: ReviewedHub, name: str) -> None:
    desk.step(times=4)
    assert starts(desk, name) == [(1, "ca-qc-1"), (2, "no-osl-1")]
    job = desk.stack.job(name)
    assert (job.status.phase, job.status.attempt, job.status.cluster) == (Phase.RUNNING, 2, "no-osl-1")
    assert condition(job, "Approved").reason == "Merged"
    assert desk.stack.spokes.violations == []
    assert desk.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    desk.step(times=3, hours=8)
    assert desk.phase(name) is Phase.SUCCEEDED
    assert desk.stack.changes(name) == ONCE
    assert desk.stack.git.git("branch", "--list", "carbon/*") == ""


@every_forge
def test_a_job_runs_on_while_people_are_asked_and_moves_once_when_they_agree(desk):
    pull = ask(desk, "asked")
    job = desk.stack.job("asked")
    assert pull.title == f"Move {desk.stack.namespace}/asked from ca-qc-1 to no-osl-1"
    assert (job.status.phase, condition(job, "Running").reason) == (Phase.RUNNING, "MoveProposed")
    assert job.status.summary.startswith("Moves to no-osl-1 once http")
    assert job.status.summary.split(" is merged;")[0].endswith(f"/{pull.number}")
    desk.step(times=2, minutes=10)
    assert (desk.stack.changes("asked"), desk.forge.created) == (["place 1"], 1)
    desk.merge(pull)
    moved_once(desk, "asked")
    assert (pull.said, desk.forge.created) == ([], 1)


def test_what_people_are_asked_says_what_is_done_what_is_left_and_what_the_move_costs(desk):
    body = ask(desk, "told").body.replace("\\", "")
    assert "**Moves a job that runs**, from ca-qc-1 to no-osl-1." in body
    assert "Merging alone stops and starts nothing" in body
    assert "to go on at once and without a pause on ca-qc-1 would be" in body
    assert "% of it is done; the move itself takes 15 min, " in body
    assert "Policy careful wants review: of moving a job that runs." in body
    assert "Good until 2025-12-16T" in body
    assert '"outcome": "Move"' in body


def test_a_proposal_to_move_touches_no_file_that_a_spoke_reads(desk):
    pull = ask(desk, "apart")
    files = desk.stack.git.git("diff", "--name-only", f"main...{pull.branch}").split()
    assert files == [f"moves/{desk.stack.namespace}/apart.yaml"]


def join(desk: ReviewedHub, pull: Pull, message: str, **who: str) -> None:
    """The forge writes the proposal's change on the main branch, without the proposal's own commit."""
    git = desk.stack.git
    tree = git.git("merge-tree", "--write-tree", "main", pull.branch).splitlines()[0]
    dates = {"GIT_COMMITTER_DATE": desk.clock.now().isoformat()}
    git.git("update-ref", "refs/heads/main", git.git("commit-tree", tree, "-p", "main", "-m", message, **dates, **who))
    pull.merged, pull.state = True, "closed"


@pytest.mark.parametrize("how", ["squash", "rebase"])
def test_it_does_not_matter_how_a_move_is_merged(desk, how):
    pull = ask(desk, "joined")
    hub = {"GIT_AUTHOR_NAME": "carbonfleet", "GIT_AUTHOR_EMAIL": "hub@carbonfleet.dev"}
    message = desk.stack.git.git("log", "-1", "--format=%B", pull.branch)
    join(desk, pull, "Move it (#1)") if how == "squash" else join(desk, pull, message, **hub)
    desk.step(times=4)
    assert starts(desk, "joined") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert (desk.forge.created, pull.said, desk.stack.spokes.violations) == (1, [], [])
    assert desk.stack.git.git("branch", "--list", "carbon/*") == ""
    assert desk.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""


def test_a_word_on_another_namespaces_job_is_none(desk):
    pull = ask(desk, "theirs")
    said = desk.stack.git.git("show", f"{pull.branch}:moves/{desk.stack.namespace}/theirs.yaml")

    def slip_in(work) -> None:
        (work / "moves/mallory").mkdir(parents=True)
        (work / "moves/mallory/theirs.yaml").write_text(said.replace(f'"{desk.stack.namespace}"', '"mallory"') + "\n")

    desk.stack.change("Just a file", slip_in)
    desk.step(times=3, minutes=1)
    assert (desk.phase("theirs"), starts(desk, "theirs")) == (Phase.RUNNING, [(1, "ca-qc-1")])
    assert desk.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    assert pull.state == "open"


def test_a_proposal_is_closed_while_its_place_takes_nothing_and_opened_again(desk):
    pull = ask(desk, "held")
    close_oslo(desk.stack)
    desk.step(minutes=1)
    why = "no-osl-1 takes nothing new while maintenance is true"
    assert (pull.state, pull.said) == ("closed", [f"Superseded: {why}."])
    assert condition(desk.stack.job("held"), "Running").reason == "MoveHeld"
    open_oslo(desk.stack)
    desk.step(minutes=1)
    assert (desk.pull("held").state, desk.forge.created) == ("open", 2)


@every_forge
def test_a_no_to_a_move_holds_for_the_generation_and_the_job_runs_on(desk):
    pull = ask(desk, "stays")
    desk.forge.close(pull)
    desk.step(times=2, minutes=1)
    job = desk.stack.job("stays")
    assert (job.status.phase, condition(job, "Running").reason) == (Phase.RUNNING, "MoveRejected")
    desk.restart()
    desk.step(times=3, hours=1)
    assert condition(desk.stack.job("stays"), "Running").reason == "MoveRejected"
    desk.step(times=3, hours=8)
    assert desk.phase("stays") is Phase.SUCCEEDED
    assert (desk.stack.changes("stays"), desk.forge.created) == (["place 1", "remove 1"], 1)


def test_a_no_to_a_move_is_no_no_to_the_next_placement(desk):
    pull = ask(desk, "reclaimed")
    desk.forge.close(pull)
    desk.step(times=2, minutes=1)
    desk.stack.spokes.behaviours["reclaimed"] = "stop-first"
    desk.step(times=5, minutes=1)
    assert [attempt for attempt, _ in starts(desk, "reclaimed")] == [1, 2]
    assert desk.stack.spokes.violations == []


def test_a_proposal_to_move_whose_time_passed_is_closed_with_one_word_and_made_anew(desk):
    first = ask(desk, "slow")
    desk.step(times=4, hours=2, minutes=15)
    assert (first.state, first.said) == ("closed", ["Superseded: the hours it was made for have passed."])
    again = desk.pull("slow")
    assert (again.state, desk.forge.created) == ("open", 2)
    desk.merge(again)
    moved_once(desk, "slow")


def test_a_move_that_is_merged_too_late_lapses_and_is_asked_for_anew(desk):
    first = ask(desk, "late")
    desk.clock.forward(hours=2, minutes=30)
    desk.merge(first)
    desk.restart()
    desk.step(times=2)
    assert desk.stack.changes("late") == ["place 1", "move 2", "lapse 2"]
    assert desk.phase("late") is Phase.RUNNING
    desk.step(times=2, hours=1)
    again = desk.pull("late")
    assert (again.state, again.branch == first.branch, desk.forge.created) == ("open", False, 2)
    desk.merge(again)
    desk.step(times=4)
    assert starts(desk, "late") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert desk.stack.spokes.violations == []


@pytest.mark.parametrize("end", ["succeed", "fail", "delete"])
def test_a_job_that_ends_first_has_its_proposal_closed_with_one_word(desk, end):
    pull = ask(desk, "ends")
    if end == "delete":
        desk.stack.delete("ends")
    else:
        desk.stack.spokes.behaviours["ends"] = end
    desk.step(times=4, minutes=1)
    said = "the job was deleted" if end == "delete" else "the job has ended"
    assert (pull.state, pull.said) == ("closed", [f"Superseded: {said}."])
    assert desk.stack.git.git("branch", "--list", "carbon/*") == ""
    assert desk.stack.changes("ends") == ["place 1", "remove 1"]


def test_a_move_that_is_merged_when_the_job_has_ended_is_taken_away(desk):
    pull = ask(desk, "gone")
    desk.merge(pull)
    desk.stack.spokes.behaviours["gone"] = "succeed"
    desk.stack.spokes.look()
    desk.stack.spokes.look()
    desk.step(times=3, minutes=1)
    assert desk.phase("gone") is Phase.SUCCEEDED
    assert desk.stack.changes("gone") == ["place 1", "move 2", "remove 1", "lapse 2"]
    assert starts(desk, "gone") == [(1, "ca-qc-1")]


def test_what_can_not_go_where_people_agreed_runs_on_where_it_is(desk):
    pull = ask(desk, "blocked")
    close_oslo(desk.stack)
    desk.merge(pull)
    desk.step(times=4, minutes=1)
    assert (desk.phase("blocked"), starts(desk, "blocked")) == (Phase.RUNNING, [(1, "ca-qc-1")])
    open_oslo(desk.stack)
    moved_once(desk, "blocked")


def test_where_the_place_is_gone_once_it_has_stopped_the_job_goes_on_at_home(desk):
    pull = ask(desk, "back")
    desk.stack.spokes.slow_to_stop.add("back")
    desk.merge(pull)
    desk.step(times=3)
    assert (desk.phase("back"), desk.stack.placements("back")) == (Phase.MOVING, [])
    close_oslo(desk.stack)
    desk.stack.spokes.slow_to_stop.remove("back")
    desk.step(times=4, minutes=1)
    assert starts(desk, "back") == [(1, "ca-qc-1"), (2, "ca-qc-1")]
    assert desk.stack.spokes.violations == []
    assert desk.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""


def test_where_home_is_closed_too_people_are_asked_about_the_next_place(desk):
    pull = ask(desk, "lost")
    desk.stack.spokes.slow_to_stop.add("lost")
    desk.merge(pull)
    desk.step(times=3)
    close_oslo(desk.stack)
    desk.stack.edit("Close Quebec", "clusters/ca-qc-1/cluster.yaml", "jurisdictions: [CA]", CLOSED_QUEBEC)
    desk.stack.spokes.slow_to_stop.remove("lost")
    desk.step(times=3, hours=3)  # until Ohio is clean
    again = desk.pull("lost")
    assert (desk.phase("lost"), again.state, again.branch == pull.branch) == (Phase.PROPOSED, "open", False)
    assert again.title == f"Place {desk.stack.namespace}/lost on us-oh-1"
    desk.merge(again)
    desk.step(times=4)
    assert starts(desk, "lost") == [(1, "ca-qc-1"), (2, "us-oh-1")]
    assert desk.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    assert desk.stack.spokes.violations == []


def test_a_move_of_a_kind_that_nobody_wants_to_see_is_made_at_once(desk):
    desk.stack.remove("Ask no more", "policies/careful.yaml")
    run(desk, "free")
    desk.step(hours=1, minutes=15)
    desk.step(times=4)
    assert starts(desk, "free") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert desk.forge.created == 0


def test_a_hub_killed_after_each_cycle_moves_the_job_once(desk):
    pull = ask(desk, "frail")
    for _ in range(8):
        desk.restart()
        desk.step()
        if pull.state == "open" and desk.restarts > 4:
            desk.merge(pull)
    assert starts(desk, "frail") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert desk.stack.changes("frail") == ONCE[:-1]
    assert (desk.forge.created, desk.stack.spokes.violations) == (1, [])
