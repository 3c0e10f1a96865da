"""Reading the tip: what did not change is not read again, and a cluster's folder is whole."""

import yaml

from carbonfleet.fleet import Remove
from fixtures.fleet_values import place, uid_of


def test_an_unchanged_tip_is_the_same_value(repository):
    repository.publish([place("llama")])
    assert repository.fetch() is repository.fetch()


def test_only_a_changed_file_is_read_again(repository):
    repository.publish([place("llama"), place("qwen")])
    before = repository.fetch()
    repository.publish([place("phi")])
    after = repository.fetch()
    for name in ("llama", "qwen"):
        assert after.placements[uid_of(name)] is before.placements[uid_of(name)]
    assert after.policies is before.policies
    assert after.clusters["ca-qc-1"] is before.clusters["ca-qc-1"]


def test_what_is_known_needs_no_server(repository, git_server):
    repository.publish([place("llama")])
    git_server.stop()
    assert set(repository.known().placements) == {uid_of("llama")}


def test_a_removed_placement_is_gone_from_the_next_tip(repository):
    repository.publish([place("llama"), place("qwen")])
    repository.publish([Remove(repository.known().placements[uid_of("llama")], "Done.")])
    assert set(repository.fetch().placements) == {uid_of("qwen")}


def test_a_clusters_folder_is_all_that_its_spoke_needs(repository, git_server):
    repository.publish([place("llama"), place("qwen", "ca-qc-1")])
    folder = repository.fetch().folder("no-osl-1")
    assert sorted(folder) == ["clusters/no-osl-1/cluster.yaml", "clusters/no-osl-1/jobs/ml/llama.yaml"]
    for content in folder.values():
        for document in yaml.safe_load_all(content):
            assert {"apiVersion", "kind", "metadata"} <= set(document)


def test_a_folder_that_is_not_there_is_empty(repository):
    assert repository.fetch().folder("nowhere") == {}


def test_a_job_copied_to_another_cluster_by_hand_counts_once(repository, person):
    repository.publish([place("llama")])
    path = person.pull()
    copy = path / "clusters/ca-qc-1/jobs/ml/llama.yaml"
    copy.parent.mkdir(parents=True)
    content = (path / "clusters/no-osl-1/jobs/ml/llama.yaml").read_text()
    copy.write_text(content.replace("no-osl-1", "ca-qc-1"))
    person.push("Try Quebec too")
    tip = repository.fetch()
    assert len(tip.files) == 2
    assert list(tip.placements) == [uid_of("llama")]


def test_strays_among_the_placements_are_named(repository, person):
    path = person.pull()
    for stray in ("clusters/no-osl-1/jobs/notes.txt", "clusters/no-osl-1/jobs/ml/deep/er.yaml"):
        (path / stray).parent.mkdir(parents=True, exist_ok=True)
        (path / stray).write_text("hello\n")
    person.push("Leave notes")
    assert set(repository.fetch().problems) == {
        "clusters/no-osl-1/jobs/notes.txt",
        "clusters/no-osl-1/jobs/ml/deep",
    }
