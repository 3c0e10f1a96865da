"""What others commit to the fleet repository: whose words count, and what a commit of theirs may not harm."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.api.spoke import SpokeStatus
from carbonfleet.fleet.manifests import object_name, parse_move, placement_id, with_suspend
from carbonfleet.kube import ours
from carbonfleet.spoke import HubLink
from carbonfleet.spoke.wanted import FleetFolder
from fixtures.fleet_values import quick_settings
from fixtures.forge_server import Pull
from fixtures.hub_process import condition
from fixtures.reviewed_hub import ReviewedHub

CAFE = b"caf\xe9"


def reformat(file: Path) -> None:
    """Write a file as another tool would."""
    documents = list(yaml.safe_load_all(file.read_text()))
    file.write_text(yaml.safe_dump_all(documents, indent=4))


def spoke_s_view(hub: ReviewedHub, cluster: str):
    """What a spoke's agent reads of the repository."""
    settings = quick_settings(hub.stack.git.url, hub.stack.root / f"agent-{cluster}.git")
    return FleetFolder(cluster, settings, hub.clock).fetch()


def trailers(hub: ReviewedHub, name: str, change: str) -> str:
    """The block with which the hub says what a commit does to a job's first attempt."""
    uid = hub.stack.body(name)["metadata"]["uid"]
    lines = [f"CTJ-Change: {change}", f"CTJ-Job: {hub.stack.namespace}/{name}", f"CTJ-UID: {uid}"]
    lines += ["CTJ-Generation: 1", "CTJ-Attempt: 1", "CTJ-Spoke: no-osl-1"]
    return "\n".join([*lines, f"CTJ-Placement-Id: {placement_id(uid, 1, 1)}"])


def squashed(hub: ReviewedHub, pull: Pull, message: str) -> None:
    """A person merges by squashing, with a message of their own."""

    def squash(of: Pull) -> None:
        git, date = hub.stack.git, {"GIT_COMMITTER_DATE": hub.clock.now().isoformat()}
        tip = git.git("rev-parse", "main")
        tree = git.git("merge-tree", "--write-tree", tip, of.branch).splitlines()[0]
        git.git("update-ref", "refs/heads/main", git.git("commit-tree", tree, "-p", tip, "-m", message, **date), tip)
        git.git("update-ref", "-d", f"refs/heads/{of.branch}")

    hub.forge.on_merge = squash
    hub.merge(pull)


def revert(hub: ReviewedHub, *options: str) -> None:
    """A person reverts the branch's last commit."""
    person = hub.stack.git.checkout(f"reverter-{hub.stack.git.commits()}")
    person.run("revert", "--no-edit", *options, "HEAD")
    person.push_head()


def notes(work: Path, folder: str) -> Path:
    """A file there whose name is in no encoding."""
    return Path(os.fsdecode(os.fsencode(work / folder) + b"/" + CAFE + b".md"))


def test_names_that_are_not_utf_8_harm_their_own_place(hub):
    def act(work: Path) -> None:
        for folder in ("clusters/no-osl-1", "clusters/no-osl-1/jobs/team-a", "moves/team-a"):
            (work / folder).mkdir(parents=True, exist_ok=True)
            notes(work, folder).write_text("hello\n")

    hub.stack.change("Notes", act)
    hub.stack.submit("after")
    hub.step(times=3, minutes=1)
    assert hub.phase("after") is Phase.SUCCEEDED
    assert spoke_s_view(hub, "us-oh-1").is_there
    assert spoke_s_view(hub, "no-osl-1").is_there


def test_a_file_beside_the_clusters_holds_what_is_new_until_it_is_taken_away(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3, minutes=1)
    hub.stack.change("Notes", lambda work: notes(work, "clusters").write_text("hello\n"))
    hub.stack.submit("after")
    hub.step(times=3, minutes=1)
    assert (hub.phase("runs"), hub.phase("after")) == (Phase.RUNNING, Phase.BLOCKED)
    assert {each.reason for each in hub.stack.job("after").status.candidates} == {"FilesUnreadable"}
    hub.stack.change("No notes", lambda work: notes(work, "clusters").unlink())
    hub.step(times=3, minutes=1)
    assert (hub.phase("runs"), hub.phase("after")) == (Phase.RUNNING, Phase.SUCCEEDED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("team-a/notes.yml", "kind: RayJob\n"),
        ("notes.txt", "hello\n"),
        ("team-a/other .yaml", "{ not: [yaml"),
        ("team-a/deep/other.yaml", "kind: RayJob\n"),
    ],
)
def test_a_file_among_placements_that_nobody_can_read_holds_its_spoke_until_it_is_taken_away(hub, name, content):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3, minutes=1)
    cluster, path = hub.stack.job("runs").status.cluster, f"clusters/no-osl-1/jobs/{name}"

    def write(work: Path) -> None:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(content)

    hub.stack.change("Leave something", write)
    hub.stack.submit("after", behaviour="hold")
    hub.step(times=3, minutes=1)
    assert (cluster, hub.phase("runs")) == ("no-osl-1", Phase.RUNNING)
    assert (hub.phase("after"), hub.stack.job("after").status.cluster == cluster) == (Phase.RUNNING, False)
    ready = condition_of(hub.stack.kube.get(ours("spokeclusters", name=cluster)))
    assert ready["reason"] == "FilesUnreadable"
    assert ready["message"].startswith("Nothing new goes there, and what runs goes on, until this file is mended or")
    assert "clusters/no-osl-1/jobs/" in ready["message"]
    hub.stack.remove("Take it away", path)
    hub.stack.submit("last", behaviour="hold")
    hub.step(times=3, minutes=1)
    assert (hub.phase("last"), hub.stack.job("last").status.cluster) == (Phase.RUNNING, cluster)
    assert [start[:2] for start in hub.stack.spokes.starts] == [("runs", 1), ("after", 1), ("last", 1)]


def condition_of(body) -> dict:
    """Whether jobs are placed on a spoke, as its object says."""
    return next(each for each in body["status"]["conditions"] if each["type"] == "Ready")


def test_a_submodule_among_the_clusters_is_named_and_harms_its_own_place(hub):
    person = hub.stack.git.checkout()
    for path in ("clusters/shared", "clusters/no-osl-1/jobs/shared"):
        person.run("update-index", "--add", "--cacheinfo", f"160000,{person.run('rev-parse', 'HEAD')},{path}")
    person.run("commit", "--quiet", "-m", "Submodules")
    person.push_head()
    hub.stack.submit("after")
    hub.step(times=3, minutes=1)
    assert (hub.phase("after"), hub.stack.job("after").status.cluster == "no-osl-1") == (Phase.SUCCEEDED, False)
    tip = hub.cycle.tip
    assert set(tip.problems) | {f"clusters/{name}" for name in tip.cluster_problems} == {
        "clusters/no-osl-1/jobs/shared",
        "clusters/shared",
    }


def test_a_branch_that_is_renamed_is_named_and_nothing_is_lost(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    hub.stack.git.git("branch", "-m", "main", "trunk")
    hub.stack.submit("later")
    hub.clock.forward(minutes=1)
    hub.connections.mirror.resync(hub.connections.kube)
    assert hub.cycle.run().blocker.reason == "RepositoryInvalid"
    assert "has no branch main" in condition(hub.stack.job("later"), "Committed").message
    assert hub.phase("runs") is Phase.RUNNING
    hub.stack.git.git("branch", "-m", "trunk", "main")
    hub.step(times=3, minutes=1)
    assert (hub.phase("runs"), hub.phase("later")) == (Phase.RUNNING, Phase.SUCCEEDED)


def test_a_placement_that_a_formatter_changed_runs_on_and_can_be_deleted(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    [file] = hub.stack.placements("runs")
    hub.stack.change("Format", lambda work: (work / file).write_text((work / file).read_text().rstrip() + "\n\n"))
    hub.step(minutes=2)
    assert hub.phase("runs") is Phase.RUNNING
    hub.stack.delete("runs")
    hub.step(times=4, minutes=2)
    assert (hub.phase("runs"), hub.stack.changes("runs")) == (None, ["place 1", "remove 1"])
    assert hub.stack.spokes.violations == []


def test_a_revert_that_is_reverted_makes_no_second_live_attempt(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    revert(hub)
    hub.step(times=2, minutes=2)
    assert (hub.phase("runs"), hub.reason("runs", "Committed")) == (Phase.REJECTED, "RevertedByHuman")
    revert(hub)
    hub.step(times=3, minutes=2)
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    hub.step(times=3, minutes=2)
    assert hub.phase("runs") is Phase.RUNNING
    assert hub.stack.changes("runs") == ["place 1", "remove 1", "place 2"]
    assert [start[:2] for start in hub.stack.spokes.starts] == [("runs", 1), ("runs", 2)]
    assert hub.stack.spokes.violations == []


def rename_cluster(hub: ReviewedHub) -> None:
    """A person gives no-osl-1 another name, its folder with all that is in it too."""

    def act(work: Path) -> None:
        (work / "clusters/no-osl-1").rename(work / "clusters/no-osl-2")
        file = work / "clusters/no-osl-2/cluster.yaml"
        file.write_text(file.read_text().replace("name: no-osl-1", "name: no-osl-2"))

    hub.stack.change("Rename the cluster", act)


def test_a_job_whose_cluster_is_renamed_is_alive_while_its_spoke_beats(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    rename_cluster(hub)
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    for _ in range(3):
        HubLink(hub.stack.kube, "no-osl-1").beat(SpokeStatus(heartbeat_time=hub.clock.now()))
        hub.step(minutes=2)
    assert "silent" not in condition(hub.stack.job("runs"), "Ready").message
    [report] = hub.stack.kube.list(ours("trainingreports", "spoke-no-osl-1"))[0]
    hub.stack.kube.delete(ours("trainingreports", "spoke-no-osl-1", report["metadata"]["name"]))
    HubLink(hub.stack.kube, "no-osl-1").beat(SpokeStatus(heartbeat_time=hub.clock.now()))
    hub.step(times=2)
    assert hub.stack.changes("runs") == ["place 1"]


def test_a_spoke_in_maintenance_that_beats_is_not_called_silent(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    hub.stack.spokes.slow_to_stop.add("runs")
    hub.stack.edit("Maintain", "clusters/no-osl-1/cluster.yaml", "    zone:", "    maintenance: true\n    zone:")
    hub.stack.remove("Not now", *hub.stack.placements("runs"))
    hub.stack.annotate("runs", "carbonfleet.dev/replace", "1")
    hub.step(times=3, minutes=2)
    said = condition(hub.stack.job("runs"), "Ready").message
    assert said.startswith("waits until no-osl-1 reports that attempt 1 has stopped; if that takes long, see runs-")


def test_a_squash_that_lost_the_hub_s_lines_and_is_reverted_says_so(hub):
    pull = hub.propose("asked", behaviour="hold")
    squashed(hub, pull, f"{pull.title} (#1)\n\nCo-authored-by: Pat Person <pat@example.org>")
    revert(hub)
    hub.restart()
    hub.step(times=3, minutes=1)
    assert (hub.stack.placements("asked"), hub.reason("asked")) == ([], "RevertedByHuman")


def test_a_squash_that_moved_the_hub_s_lines_and_is_reverted_says_so_and_leaves_no_branch(hub):
    pull = hub.propose("asked", behaviour="hold")
    kept = hub.stack.git.git("log", "-1", "--format=%B", pull.branch)
    squashed(hub, pull, f"{kept}\n\nCo-authored-by: carbonfleet hub <hub@carbonfleet.dev>")
    revert(hub)
    hub.restart()
    hub.step(times=4, minutes=1)
    assert (hub.stack.placements("asked"), hub.reason("asked")) == ([], "RevertedByHuman")
    hub.step(times=4, hours=3)
    assert hub.stack.git.git("for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"


def test_a_merge_that_is_reverted_while_the_hub_is_down_stays_reverted(hub):
    hub.merge(hub.propose("asked", behaviour="hold"))
    revert(hub, "-m", "1")
    hub.restart()
    hub.step(times=3, minutes=1)
    assert (hub.stack.placements("asked"), hub.reason("asked")) == ([], "RevertedByHuman")
    assert "by Pat Person in" in condition(hub.stack.job("asked"), "Approved").message


def test_a_commit_in_no_known_encoding_from_no_possible_time_harms_nobody(hub):
    git = hub.stack.git
    tip, tree = git.git("rev-parse", "main"), git.git("rev-parse", "main^{tree}")
    raw = hub.stack.root / "commit"
    who = b"Jos\xe9 \xff <jose@example.org>"
    lines = [f"tree {tree}".encode(), f"parent {tip}".encode(), b"author %s 1700000000 +0000" % who]
    lines += [b"committer %s 99999999999999 +0000" % who, b"encoding no-such", b"", b"CTJ-Change: caf\xe9 \xff", b""]
    raw.write_bytes(b"\n".join(lines))
    commit = git.git("hash-object", "-t", "commit", "-w", "--literally", str(raw))
    git.git("update-ref", "refs/heads/main", commit)
    git.git("update-ref", "refs/heads/carbon/odd", commit)
    hub.restart()
    hub.stack.submit("after")
    hub.step(times=3, minutes=1)
    assert hub.phase("after") is Phase.SUCCEEDED
    assert spoke_s_view(hub, "us-oh-1").is_there
    assert hub.propose("asked").state == "open"


def test_the_hub_s_lines_in_a_commit_that_adds_no_placement_are_only_text(hub):
    later = (hub.clock.now() + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    hub.stack.submit("waits", schedule={"earliestStart": later, "maxDelay": "24h"})
    hub.step(minutes=1)
    message = f"Fix a typo\n\n{trailers(hub, 'waits', 'place')}\n"
    hub.stack.change(message, lambda work: (work / "TYPO.md").write_text("x"))
    hub.restart()
    hub.step(times=2, minutes=1)
    assert hub.phase("waits") is Phase.WAITING
    hub.step(times=4, hours=4)
    assert hub.phase("waits") is Phase.SUCCEEDED


def test_a_removal_in_the_hub_s_name_makes_no_second_live_attempt(hub):
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    [file] = hub.stack.placements("runs")
    person = hub.stack.git.checkout("impostor")
    (person.path / file).unlink()
    person.run("add", "--all")
    message = f"remove\n\n{trailers(hub, 'runs', 'remove')}\n"
    person.run("commit", "--quiet", "-m", message, GIT_AUTHOR_EMAIL="hub@carbonfleet.dev")
    person.push_head()
    hub.step(times=3, minutes=1)
    assert hub.stack.spokes.violations == []
    assert (hub.phase("runs"), hub.reason("runs", "Committed")) == (Phase.REJECTED, "RevertedByHuman")


def test_a_branch_set_back_behind_a_running_job_makes_no_second_live_attempt(hub):
    before = hub.stack.git.git("rev-parse", "main")
    hub.stack.submit("runs", behaviour="hold")
    hub.step(times=3)
    hub.stack.spokes.slow_to_stop.add("runs")
    hub.stack.git.git("update-ref", "refs/heads/main", before)
    hub.restart()
    hub.step(times=3, minutes=2)
    assert (hub.phase("runs"), hub.reason("runs", "Committed")) == (Phase.REJECTED, "RevertedByHuman")
    assert len(hub.stack.spokes.live("runs")) == 1
    assert hub.stack.spokes.violations == []


def test_a_policy_that_comes_while_a_push_is_held_decides_over_what_is_held(hub):
    work = hub.stack.git.checkout("policy")
    work.edit("policies/default.yaml", "{anywhere: true}", "{clusters: [us-oh-1]}")
    work.run("commit", "--quiet", "--all", "-m", "Only Ohio")
    work.run("push", "--quiet", "origin", "HEAD:refs/keep/policy")
    new = work.run("rev-parse", "HEAD")
    once = f"[ -e {hub.stack.root}/done ] || {{ touch {hub.stack.root}/done; unset GIT_QUARANTINE_PATH;"
    hub.stack.git.hook("pre-receive", f"{once} git update-ref refs/heads/main {new}; }}")
    hub.stack.submit("held")
    hub.step(times=4, minutes=1)
    assert (hub.stack.root / "done").exists()
    assert hub.stack.spokes.starts == [("held", 1, "us-oh-1")]
    assert hub.phase("held") is Phase.SUCCEEDED


def test_a_forged_yes_moves_no_job_where_its_policy_forbids_it(hub):
    hub.stack.submit(
        "stays",
        "train",
        data_class="personal",
        duration="6h",
        schedule={"maxDelay": "0s", "interruptible": {}},
    )
    hub.step(times=3)
    uid = hub.stack.body("stays")["metadata"]["uid"]
    text = hub.stack.git.git("show", f"main:{hub.stack.placements('stays')[0]}") + "\n"
    for old, new in (
        ('"no-osl-1"', '"us-oh-1"'),
        (placement_id(uid, 1, 1), placement_id(uid, 1, 2)),
        (object_name("stays", uid, 1), object_name("stays", uid, 2)),
        ('carbonfleet.dev/attempt: "1"', 'carbonfleet.dev/attempt: "2"'),
        ('{name: LORA_ATTEMPT, value: "1"}', '{name: LORA_ATTEMPT, value: "2"}'),
    ):
        text = text.replace(old, new)
    path = f"moves/{hub.stack.namespace}/stays.yaml"
    content = with_suspend(path, text.encode(), False)
    move = parse_move(path, content)
    assert (move.cluster, move.attempt, move.edited) == ("us-oh-1", 2, False)

    def act(work: Path) -> None:
        (work / path).parent.mkdir(parents=True)
        (work / path).write_bytes(content)

    hub.stack.change("Approve move", act)
    for _ in range(8):
        hub.step(times=2, hours=1)
    assert hub.phase("stays") is Phase.SUCCEEDED
    assert hub.stack.spokes.starts == [("stays", 1, "no-osl-1")]
    assert path not in hub.stack.git.files()
