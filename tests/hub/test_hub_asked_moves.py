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
def hub(request, hub_api, tmp_path):
    """A hub and a forge, where Oslo is under maintenance until a job runs in Quebec."""
    made = ReviewedHub.open(tmp_path / "stack", hub_api, getattr(request, "param", "github"))
    ask_before_moving(made.stack)
    close_oslo(made.stack)
    yield made
    made.close()


OTHERS = [pytest.param(kind, marks=pytest.mark.soak) for kind in ("gitlab", "gitea")]
every_forge = pytest.mark.parametrize("hub", ["github", *OTHERS], indirect=True)


def run(hub: ReviewedHub, name: str) -> None:
    """A job that runs in Quebec; Oslo is open again."""
    hub.stack.submit(name, "train", duration="8h", schedule=PATIENT, workload=SHARED)
    hub.step(times=2)
    assert (hub.phase(name), hub.stack.job(name).status.cluster) == (Phase.RUNNING, "ca-qc-1")
    open_oslo(hub.stack)


def ask(hub: ReviewedHub, name: str) -> Pull:
    """The pull request about moving a job that has run for an hour."""
    run(hub, name)
    hub.step(hours=1, minutes=15)
    return hub.pull(name)


def starts(hub: ReviewedHub, name: str) -> list[tuple[int, str]]:
    return [(attempt, cluster) for job, attempt, cluster in hub.stack.spokes.starts if job == name]


def moved_once(hub: ReviewedHub, name: str) -> None:
    hub.step(times=4)
    assert starts(hub, name) == [(1, "ca-qc-1"), (2, "no-osl-1")]
    job = hub.stack.job(name)
    assert (job.status.phase, job.status.attempt, job.status.cluster) == (Phase.RUNNING, 2, "no-osl-1")
    assert condition(job, "Approved").reason == "Merged"
    assert hub.stack.spokes.violations == []
    assert hub.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    hub.step(times=3, hours=8)
    assert hub.phase(name) is Phase.SUCCEEDED
    assert hub.stack.changes(name) == ONCE
    assert hub.stack.git.git("branch", "--list", "carbon/*") == ""


@every_forge
def test_a_job_runs_on_while_people_are_asked_and_moves_once_when_they_agree(hub):
    pull = ask(hub, "asked")
    job = hub.stack.job("asked")
    assert pull.title == f"Move {hub.stack.namespace}/asked from ca-qc-1 to no-osl-1"
    assert (job.status.phase, condition(job, "Running").reason) == (Phase.RUNNING, "MoveProposed")
    assert job.status.summary.startswith("Moves to no-osl-1 once http")
    assert job.status.summary.split(" is merged;")[0].endswith(f"/{pull.number}")
    hub.step(times=2, minutes=10)
    assert (hub.stack.changes("asked"), hub.forge.created) == (["place 1"], 1)
    hub.merge(pull)
    moved_once(hub, "asked")
    assert (pull.said, hub.forge.created) == ([], 1)


def test_what_people_are_asked_says_what_is_done_what_is_left_and_what_the_move_costs(hub):
    body = ask(hub, "told").body.replace("\\", "")
    assert "**Moves a job that runs**, from ca-qc-1 to no-osl-1." in body
    assert "Merging alone stops and starts nothing" in body
    assert "to go on at once and without a pause on ca-qc-1 would be" in body
    assert "% of it is done; the move itself takes 15 min, " in body
    assert "Policy careful wants review: of moving a job that runs." in body
    assert "Good until 2025-12-16T" in body
    assert '"outcome": "Move"' in body


def test_a_proposal_to_move_touches_no_file_that_a_spoke_reads(hub):
    pull = ask(hub, "apart")
    files = hub.stack.git.git("diff", "--name-only", f"main...{pull.branch}").split()
    assert files == [f"moves/{hub.stack.namespace}/apart.yaml"]


def join(hub: ReviewedHub, pull: Pull, message: str, **who: str) -> None:
    """The forge writes the proposal's change on the main branch, without the proposal's own commit."""
    git = hub.stack.git
    tree = git.git("merge-tree", "--write-tree", "main", pull.branch).splitlines()[0]
    dates = {"GIT_COMMITTER_DATE": hub.clock.now().isoformat()}
    git.git("update-ref", "refs/heads/main", git.git("commit-tree", tree, "-p", "main", "-m", message, **dates, **who))
    pull.merged, pull.state = True, "closed"


@pytest.mark.parametrize("how", ["squash", "rebase"])
def test_it_does_not_matter_how_a_move_is_merged(hub, how):
    pull = ask(hub, "joined")
    author = {"GIT_AUTHOR_NAME": "carbonfleet", "GIT_AUTHOR_EMAIL": "hub@carbonfleet.dev"}
    message = hub.stack.git.git("log", "-1", "--format=%B", pull.branch)
    join(hub, pull, "Move it (#1)") if how == "squash" else join(hub, pull, message, **author)
    hub.step(times=4)
    assert starts(hub, "joined") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert (hub.forge.created, pull.said, hub.stack.spokes.violations) == (1, [], [])
    assert hub.stack.git.git("branch", "--list", "carbon/*") == ""
    assert hub.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""


@pytest.mark.parametrize("path", ["moves/README.md", "Moves/team-a/held.yaml", "moves/team-a/other.yaml"])
def test_a_file_of_moves_that_nobody_can_read_holds_moves_until_it_is_taken_away(hub, path):
    pull = ask(hub, "held")

    def leave(work) -> None:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text("Don't\n")

    hub.merge(pull)
    hub.stack.change("Leave a word", leave)
    hub.step(times=4)
    assert starts(hub, "held") == [(1, "ca-qc-1")]
    running = condition(hub.stack.job("held"), "Running")
    assert (running.status, running.reason) == ("True", "MovesUnreadable")
    assert f"No job is moved until this file is mended or taken away: {path}:1: " in running.message
    hub.stack.remove("Take it away", path)
    moved_once(hub, "held")


def test_what_has_stopped_for_a_move_waits_while_a_file_of_moves_can_not_be_read(hub):
    hub.merge(ask(hub, "stopped"))
    while hub.stack.changes("stopped") != ["place 1", "move 2", "remove 1"]:
        hub.step()
    hub.stack.change("Leave a word", lambda work: (work / "moves/README.md").write_text("Don't\n"))
    hub.step(times=3)
    assert starts(hub, "stopped") == [(1, "ca-qc-1")]
    assert condition(hub.stack.job("stopped"), "Committed").reason == "MovesUnreadable"
    hub.stack.remove("Take it away", "moves/README.md")
    moved_once(hub, "stopped")


def test_a_word_on_another_namespaces_job_is_none(hub):
    pull = ask(hub, "theirs")
    said = hub.stack.git.git("show", f"{pull.branch}:moves/{hub.stack.namespace}/theirs.yaml")

    def slip_in(work) -> None:
        (work / "moves/mallory").mkdir(parents=True)
        (work / "moves/mallory/theirs.yaml").write_text(said.replace(f'"{hub.stack.namespace}"', '"mallory"') + "\n")

    hub.stack.change("Just a file", slip_in)
    hub.step(times=3, minutes=1)
    assert (hub.phase("theirs"), starts(hub, "theirs")) == (Phase.RUNNING, [(1, "ca-qc-1")])
    assert hub.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    assert pull.state == "open"


def test_a_proposal_is_closed_while_its_place_takes_nothing_and_opened_again(hub):
    pull = ask(hub, "held")
    close_oslo(hub.stack)
    hub.step(minutes=1)
    why = "no-osl-1 takes nothing new while its cluster file says maintenance: true"
    assert (pull.state, pull.said) == ("closed", [f"Superseded: {why}."])
    assert condition(hub.stack.job("held"), "Running").reason == "MoveHeld"
    open_oslo(hub.stack)
    hub.step(minutes=1)
    assert (hub.pull("held").state, hub.forge.created) == ("open", 2)


@every_forge
def test_a_no_to_a_move_holds_for_the_generation_and_the_job_runs_on(hub):
    pull = ask(hub, "stays")
    hub.forge.close(pull)
    hub.step(times=2, minutes=1)
    job = hub.stack.job("stays")
    assert (job.status.phase, condition(job, "Running").reason) == (Phase.RUNNING, "MoveRejected")
    hub.restart()
    hub.step(times=3, hours=1)
    assert condition(hub.stack.job("stays"), "Running").reason == "MoveRejected"
    hub.step(times=3, hours=8)
    assert hub.phase("stays") is Phase.SUCCEEDED
    assert (hub.stack.changes("stays"), hub.forge.created) == (["place 1", "remove 1"], 1)


def test_a_no_to_a_move_is_no_no_to_the_next_placement(hub):
    pull = ask(hub, "reclaimed")
    hub.forge.close(pull)
    hub.step(times=2, minutes=1)
    hub.stack.spokes.behaviours["reclaimed"] = "stop-first"
    hub.step(times=5, minutes=1)
    assert [attempt for attempt, _ in starts(hub, "reclaimed")] == [1, 2]
    assert hub.stack.spokes.violations == []


def test_a_proposal_to_move_whose_time_passed_is_closed_with_one_word_and_made_anew(hub):
    first = ask(hub, "slow")
    hub.step(times=4, hours=2, minutes=15)
    assert (first.state, first.said) == ("closed", ["Superseded: the hours it was made for have passed."])
    again = hub.pull("slow")
    assert (again.state, hub.forge.created) == ("open", 2)
    hub.merge(again)
    moved_once(hub, "slow")


def test_a_move_that_is_merged_too_late_lapses_and_is_asked_for_anew(hub):
    first = ask(hub, "late")
    hub.clock.forward(hours=2, minutes=30)
    hub.merge(first)
    hub.restart()
    hub.step(times=2)
    assert hub.stack.changes("late") == ["place 1", "move 2", "lapse 2"]
    assert hub.phase("late") is Phase.RUNNING
    hub.step(times=2, hours=1)
    again = hub.pull("late")
    assert (again.state, again.branch == first.branch, hub.forge.created) == ("open", False, 2)
    hub.merge(again)
    hub.step(times=4)
    assert starts(hub, "late") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert hub.stack.spokes.violations == []


@pytest.mark.parametrize("end", ["succeed", "fail", "delete"])
def test_a_job_that_ends_first_has_its_proposal_closed_with_one_word(hub, end):
    pull = ask(hub, "ends")
    if end == "delete":
        hub.stack.delete("ends")
    else:
        hub.stack.spokes.behaviours["ends"] = end
    hub.step(times=4, minutes=1)
    said = "the job was deleted" if end == "delete" else "the job has ended"
    assert (pull.state, pull.said) == ("closed", [f"Superseded: {said}."])
    assert hub.stack.git.git("branch", "--list", "carbon/*") == ""
    assert hub.stack.changes("ends") == ["place 1", "remove 1"]


def test_a_move_that_is_merged_when_the_job_has_ended_is_taken_away(hub):
    pull = ask(hub, "gone")
    hub.merge(pull)
    hub.stack.spokes.behaviours["gone"] = "succeed"
    hub.stack.spokes.look()
    hub.stack.spokes.look()
    hub.step(times=3, minutes=1)
    assert hub.phase("gone") is Phase.SUCCEEDED
    assert hub.stack.changes("gone") == ["place 1", "move 2", "remove 1", "lapse 2"]
    assert starts(hub, "gone") == [(1, "ca-qc-1")]


def test_what_can_not_go_where_people_agreed_runs_on_where_it_is(hub):
    pull = ask(hub, "blocked")
    close_oslo(hub.stack)
    hub.merge(pull)
    hub.step(times=4, minutes=1)
    assert (hub.phase("blocked"), starts(hub, "blocked")) == (Phase.RUNNING, [(1, "ca-qc-1")])
    open_oslo(hub.stack)
    moved_once(hub, "blocked")


def test_where_the_place_is_gone_once_it_has_stopped_the_job_goes_on_at_home(hub):
    pull = ask(hub, "back")
    hub.stack.spokes.slow_to_stop.add("back")
    hub.merge(pull)
    hub.step(times=3)
    assert (hub.phase("back"), hub.stack.placements("back")) == (Phase.MOVING, [])
    close_oslo(hub.stack)
    hub.stack.spokes.slow_to_stop.remove("back")
    hub.step(times=4, minutes=1)
    assert starts(hub, "back") == [(1, "ca-qc-1"), (2, "ca-qc-1")]
    assert hub.stack.spokes.violations == []
    assert hub.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""


def test_where_home_is_closed_too_people_are_asked_about_the_next_place(hub):
    pull = ask(hub, "lost")
    hub.stack.spokes.slow_to_stop.add("lost")
    hub.merge(pull)
    hub.step(times=3)
    close_oslo(hub.stack)
    hub.stack.edit("Close Quebec", "clusters/ca-qc-1/cluster.yaml", "jurisdictions: [CA]", CLOSED_QUEBEC)
    hub.stack.spokes.slow_to_stop.remove("lost")
    hub.step(times=3, hours=3)  # until Ohio is clean
    again = hub.pull("lost")
    assert (hub.phase("lost"), again.state, again.branch == pull.branch) == (Phase.PROPOSED, "open", False)
    assert again.title == f"Place {hub.stack.namespace}/lost on us-oh-1"
    hub.merge(again)
    hub.step(times=4)
    assert starts(hub, "lost") == [(1, "ca-qc-1"), (2, "us-oh-1")]
    assert hub.stack.git.git("ls-tree", "-r", "--name-only", "main", "moves") == ""
    assert hub.stack.spokes.violations == []


def test_a_move_of_a_kind_that_nobody_wants_to_see_is_made_at_once(hub):
    hub.stack.remove("ProposeMove no more", "policies/careful.yaml")
    run(hub, "free")
    hub.step(hours=1, minutes=15)
    hub.step(times=4)
    assert starts(hub, "free") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert hub.forge.created == 0


def test_a_hub_killed_after_each_cycle_moves_the_job_once(hub):
    pull = ask(hub, "frail")
    for _ in range(8):
        hub.restart()
        hub.step()
        if pull.state == "open" and hub.restarts > 4:
            hub.merge(pull)
    assert starts(hub, "frail") == [(1, "ca-qc-1"), (2, "no-osl-1")]
    assert hub.stack.changes("frail") == ONCE[:-1]
    assert (hub.forge.created, hub.stack.spokes.violations) == (1, [])
