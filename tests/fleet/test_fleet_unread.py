"""Whatever lies where rules and placements lie is read, or is named and holds up what it might speak of."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from carbonfleet.fleet import Place, Refused, Repository, render
from carbonfleet.fleet.check import read_checkout, read_files
from carbonfleet.fleet.git import Tip, TipReader, changed_tree
from carbonfleet.fleet.manifests import meant_root, parse, read_job_path
from carbonfleet.fleet.publish.batch import World, prepare
from carbonfleet.fleet.publish.history import PlacementHistory, Vanished
from carbonfleet.spoke.admission import refusal_of
from carbonfleet.spoke.wanted import folder_of, read_folder
from fixtures.fleet_values import NOON, facts_of, place
from fixtures.odd_yaml import fleet_files

FILES = fleet_files()
POLICY = FILES["policies/eu-only.yaml"].decode()
OTHER = "git@example.org:other.git"


POLICIES_READ = read_checkout(FILES).policies
CLUSTERS = {"ca-qc-1", "no-osl-1", "us-oh-1"}


def denied(repository: Repository) -> set[str]:
    """The paths of the policies' problems on the hub."""
    return {problem.partition(":")[0] for problem in repository.fetch().policies.problems}


def judged(folder: Path) -> set[str]:
    """The paths that `policy check` complains of."""
    return {problem.path for problem in read_checkout(read_files(folder)).problems}


@pytest.mark.parametrize(
    "path",
    [
        "policies/us-only.YAML",
        "policies/us-only.Yaml",
        "policies/us-only.json",
        "policies/us-only.yaml.txt",
        "policies/us-only",
        "policies/us-only.yaml ",
        "policies/us-only.yaml~",
        "policies/.us-only.yaml.swp",
        "policies/team-a/us-only.yamll",
        "policies/README.md",
        "policies/.gitkeep",
        "Policies/us-only.yaml",
        "POLICIES/us-only.yaml",
        "policies /us-only.yaml",
        " policies/us-only.yaml",
    ],
)
def test_a_policy_that_nobody_reads_denies_and_is_named(repository, person, path):
    file = person.pull() / path
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(POLICY.replace("eu-only", "us-only"))
    person.push("Keep it in the US")
    assert denied(repository) == {path}
    assert judged(person.path) == {path}


def test_a_linked_policy_denies_whatever_its_text_says(repository, person):
    folder = person.pull()
    (folder / "policies/eu-only.yaml").unlink()
    (folder / "policies/eu-only.yaml").symlink_to(POLICY)
    (folder / "policies/more").symlink_to("../clusters")
    person.push("Link policies")
    assert denied(repository) == {"policies/eu-only.yaml", "policies/more"}
    assert judged(folder) == {"policies/eu-only.yaml", "policies/more"}


def submodule(person, path: str, commit: str = "1" * 40) -> None:
    """Put another repository at a path, as `git submodule add` does, without one."""
    person.run("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    with (person.path / ".gitmodules").open("a") as file:
        file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {OTHER}\n')
    person.run("add", ".gitmodules")
    person.run("commit", "--quiet", "-m", f"Add {path}")
    person.push_head()
    (person.path / path).mkdir(parents=True, exist_ok=True)


def test_a_submodule_of_policies_denies(repository, person):
    person.pull()
    submodule(person, "policies/shared")
    assert denied(repository) == {"policies/shared"}
    assert judged(person.path) == {"policies/shared"}


def test_policies_as_a_whole_from_elsewhere_deny(repository, person):
    folder = person.pull()
    person.run("rm", "-r", "--quiet", "policies")
    (folder / "policies").symlink_to("clusters")
    person.push("Link the policies")
    assert denied(repository) == {"policies"}


@pytest.mark.parametrize(
    ("path", "holds_up"),
    [
        ("clusters/README.md", ("clusters", "")),
        ("clusters/no-osl-1.yaml", ("clusters", "")),
        ("clusters/no-osl-1/Cluster.yaml", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/cluster.yml", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/notes/job.yaml", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/jobs/notes.txt", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/jobs/ml/llama.yml", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/jobs/ml/llama.yaml.orig", ("clusters", "no-osl-1")),
        ("clusters/no-osl-1/jobs/ml/more/llama.yaml", ("clusters", "no-osl-1")),
        ("clusters/other", ("clusters", "other")),
        ("moves/llama.yaml", ("moves", "")),
        ("moves/README.md", ("moves", "")),
        ("moves/ml/llama.json", ("moves", "")),
        ("moves/ml/llama.yaml", ("moves", "")),
        ("Clusters/no-osl-1/cluster.yaml", ("clusters", "no-osl-1")),
        ("Moves/ml/llama.yaml", ("moves", "")),
        ("serving/README.md", ("serving", "")),
        ("serving/no-osl-1/ranks.yaml", ("serving", "no-osl-1")),
        ("serving/no-osl-1/ml/ranks.yml", ("serving", "no-osl-1")),
        ("serving /no-osl-1/ml/ranks.yaml", ("serving", "no-osl-1")),
    ],
)
def test_what_nobody_reads_elsewhere_is_named_and_holds_up_its_own_place(repository, person, path, holds_up):
    file = person.pull() / path
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("hello\n")
    person.push("Leave something")
    tip = repository.fetch()
    named = path if path in tip.problems else path.rpartition("/")[0]
    assert set(tip.problems) == {named}
    assert tip.problems[named].startswith(f"{named}:1: ")
    assert set(tip.held) == {holds_up}
    assert tip.held[holds_up].endswith(f" until this file is mended or taken away: {tip.problems[named]}")
    if holds_up[0] == "clusters":
        assert {name for name in CLUSTERS if folder_of(tip, name).unread} == (
            {holds_up[1] or name for name in CLUSTERS} & CLUSTERS
        )
    beside = path.startswith("clusters/no-osl-1/") and "/jobs/" not in path
    assert (tip.policies.problems, set(tip.cluster_problems)) == ((), {"no-osl-1"} if beside else set())
    assert ("no-osl-1" in tip.clusters, "us-oh-1" in tip.clusters) == (not beside, True)
    assert judged(person.path) == {path}
    file.unlink()
    person.push("Take it away")
    assert repository.fetch().held == {}
    assert (repository.fetch().problems, set(repository.fetch().clusters)) == ({}, {"no-osl-1", "us-oh-1", "ca-qc-1"})


def test_links_among_placements_and_what_is_served_are_named_and_not_followed(repository, person):
    repository.publish([place("llama"), place("qwen")])
    folder = person.pull()
    linked = "clusters/no-osl-1/jobs/ml/llama.yaml"
    text = (folder / linked).read_text()
    (folder / linked).unlink()
    (folder / linked).symlink_to(text[:4000])
    for path, target in {"serving/no-osl-1/ml/x.yaml": "y.yaml", "moves/ml/phi.yaml": "../../x"}.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).symlink_to(target)
    person.push("Link files")
    tip = repository.fetch()
    assert set(tip.problems) == {linked, "serving/no-osl-1/ml/x.yaml", "moves/ml/phi.yaml"}
    assert [each.name for each in tip.files.values()] == ["qwen"]
    wanted = read_folder("no-osl-1", folder_of(tip, "no-osl-1"))
    assert set(wanted.broken) == {linked, "serving/no-osl-1/ml/x.yaml"}
    assert all("is a link or a submodule" in each for each in wanted.problems)
    assert judged(folder) == set(tip.problems)


def test_a_placement_that_becomes_a_link_to_its_own_text_is_one_no_more(repository, person):
    """Link and file have one blob: what was read of the file must not stand for the link."""
    repository.publish([place("llama")])
    folder = person.pull()
    path = "clusters/no-osl-1/jobs/ml/llama.yaml"
    assert path in repository.fetch().files
    blob = person.run("hash-object", "-w", path)
    person.run("update-index", "--cacheinfo", f"120000,{blob},{path}")
    person.run("commit", "--quiet", "-m", "Make it a link")
    person.push_head()
    tip = repository.fetch()
    assert (set(tip.files), set(tip.problems)) == (set(), {path})
    assert folder.exists()


def test_a_cluster_file_that_is_a_link_takes_that_spoke_out_alone(repository, person):
    folder = person.pull()
    path = "clusters/us-oh-1/cluster.yaml"
    (folder / path).unlink()
    (folder / path).symlink_to("../no-osl-1/cluster.yaml")
    person.push("Link Ohio")
    tip = repository.fetch()
    assert set(tip.clusters) == {"no-osl-1", "ca-qc-1"}
    assert tip.cluster_problems["us-oh-1"].startswith(f"{path}:1: is a link or a submodule")
    assert path in judged(folder)


def test_a_pipe_in_a_checkout_is_named_and_not_waited_for(person):
    folder = person.pull()
    os.mkfifo(folder / "policies/pipe.yaml")
    assert judged(folder) == {"policies/pipe.yaml"}


def test_a_repository_inside_a_checkout_is_named_and_not_looked_into(person):
    folder = person.pull()
    subprocess.run(["git", "init", "--quiet", str(folder / "policies/inner")], check=True)
    (folder / "policies/inner/eu.yaml").write_text(POLICY)
    assert judged(folder) == {"policies/inner"}


@pytest.mark.parametrize("seconds", [-(2**62), -1, 2**40, 2**62])
def test_a_commit_of_any_time_is_read(repository, person, seconds):
    person.pull()
    raw = person.run("cat-file", "commit", "HEAD")
    changed = "\n".join(
        f"committer Pat <pat@example.org> {seconds} +0000" if line.startswith("committer") else line
        for line in raw.split("\n")
    )
    made = subprocess.run(
        ["git", "-C", str(person.path), "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        input=changed.encode(),
        capture_output=True,
        check=True,
    )
    person.run("reset", "--quiet", "--hard", made.stdout.decode().strip())
    person.run("push", "--quiet", "--force", "origin", "HEAD:main")
    assert 1970 <= repository.fetch().time.year < 3000


names = st.one_of(
    st.sampled_from(["no-osl-1", "NO-OSL-1", "us-oh-1.yaml", "ml", "new.yaml"]),
    st.sampled_from(["us", "us.yaml", "us.YML", "us.yml", "cluster.yaml", "jobs", ".yaml", "a b", "é.yaml", "x.json"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
)
paths = st.tuples(
    st.sampled_from(["policies", "Policies", "policies ", "clusters", "Clusters", "moves", "serving"]), *[names] * 4
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with the files in which nothing is wrong, and their tree."""
    made = pygit2.init_repository(str(tmp_path_factory.mktemp("unread") / "fleet"), bare=True)
    return made, changed_tree(made, None, FILES)


def tip_with(clone, path: str, content: bytes) -> Tip:
    """What the hub reads once a file was added."""
    git, whole = clone
    who = pygit2.Signature("Pat", "pat@example.org", int(NOON.timestamp()), 0)
    tree = changed_tree(git, git[whole], {path: content})
    return TipReader(git).read(git[git.create_commit(None, who, who, "Add", tree, [])])


def begins(tip: Tip, cluster: str) -> bool:
    """Whether that cluster's agent would begin a placement of public data."""
    wanted = read_folder(cluster, folder_of(tip, cluster))
    intent = place("new", cluster)
    file = render(intent.decision, intent.spec, intent.record, facts_of(cluster))
    return refusal_of(parse(intent.path, file), wanted, None, {}) is None


def taken(tip: Tip, intent: Place) -> str:
    """Why the hub would not write an intent on that tip; empty where it would."""
    world = World(tip, tip, PlacementHistory(""), lambda _path: Vanished(by_us=True))
    batch = prepare([intent], world, allow_many_removals=False)
    found = batch.results.get(intent.id)
    return found.reason if isinstance(found, Refused) else ""


@given(path=paths, depth=st.integers(2, 5), text=st.sampled_from(["", "hello", POLICY]))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_further_file_is_read_or_denies_alike_for_hub_spokes_and_check(clone, path, depth, text):
    """Of a checkout that is in order, a further file of any name ends as a problem that denies, or as a policy."""
    assume(not {".", "..", ".git"} & {part.casefold() for part in path})
    added = "/".join(path[:depth])
    assume(all(len(part.encode()) < 200 for part in path))
    assume(not any(name.startswith(f"{added}/") or f"{added}/".startswith(f"{name}/") for name in FILES))
    checkout = read_checkout(FILES | {added: text.encode()})
    tip, root = tip_with(clone, added, text.encode()), meant_root(path[0])
    if len(checkout.policies.policies) > len(POLICIES_READ.policies):
        return
    assert any(problem.path in (added, f"clusters/{path[1]}/cluster.yaml") for problem in checkout.problems)
    assert set(tip.held) == set(checkout.held)
    assert tip.policies.problems == checkout.policies.problems
    if root == "policies":
        assert checkout.policies.problems
        assert not any(begins(tip, name) for name in CLUSTERS)
    elif root == "moves":
        assert tip.why_held("moves")
        assert taken(tip, replace(place("new"), approved_in="f" * 40)) == "MovesUnreadable"
    elif own := read_job_path(added):
        intent = place(own.name, own.cluster, namespace=own.namespace)
        assert tip.held == {} or own.cluster not in CLUSTERS
        assert taken(tip, intent) in ("EditedByHuman", "ClusterInvalid")
        assert added in read_folder(own.cluster, folder_of(tip, own.cluster)).broken
    elif root == "clusters":
        assert tip.held
        held = {name for name in CLUSTERS if tip.why_held(root, name)}
        assert {name for name in CLUSTERS if not begins(tip, name)} == held
        assert {name for name in CLUSTERS if taken(tip, place("new", name))} == held
    else:
        assert tip.held or read_folder(path[1], folder_of(tip, path[1])).broken
