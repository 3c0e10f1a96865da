"""Publishing to a real Git server: what is written, once, and what is left alone."""

from carbonfleet.fleet import AlreadyThere, Committed, Refused, Remove, Repository, Suspend, placement_id
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of


def result_of(published, intent):
    return published.results[intent.id]


def placed(repository, name):
    return repository.fetch().placements[uid_of(name)]


def test_a_decision_becomes_one_file_in_one_commit(repository, git_server):
    published = repository.publish([place("llama")])
    assert published.results == {place("llama").id: Committed(git_server.git("rev-parse", "main"))}
    assert git_server.git("show", "--name-status", "--format=", "main") == ("A\tclusters/no-osl-1/jobs/ml/llama.yaml")


def test_a_batch_is_one_commit(repository, git_server):
    before = git_server.commits()
    repository.publish([place(f"job-{n}") for n in range(50)])
    assert git_server.commits() == before + 1
    assert len(repository.fetch().placements) == 50


def test_the_same_decision_is_never_written_twice(repository, git_server):
    repository.publish([place("llama")])
    before = git_server.commits()
    again = repository.publish([place("llama")])
    assert isinstance(result_of(again, place("llama")), AlreadyThere)
    assert git_server.commits() == before


def test_the_same_decision_for_another_cluster_is_found_where_it_is(repository, git_server, tmp_path):
    repository.publish([place("llama", "no-osl-1")])
    other = Repository(quick_settings(git_server.url, tmp_path / "other-hub"), CLOCK)
    result = result_of(other.publish([place("llama", "ca-qc-1")]), place("llama"))
    assert isinstance(result, AlreadyThere)
    assert result.placement is not None
    assert result.placement.cluster == "no-osl-1"


def test_publishing_nothing_writes_nothing(repository, git_server):
    before = git_server.commits()
    repository.publish([])
    assert git_server.commits() == before


def test_a_removal_takes_the_file_and_its_empty_folders(repository, git_server):
    repository.publish([place("llama")])
    repository.publish([Remove(placed(repository, "llama"), "The job was deleted.")])
    assert [path for path in git_server.files() if "/jobs/" in path] == []
    assert "clusters/no-osl-1/cluster.yaml" in git_server.files()


def test_a_removal_of_what_is_gone_is_already_there(repository, git_server):
    repository.publish([place("llama")])
    removal = Remove(placed(repository, "llama"), "The job was deleted.")
    repository.publish([removal])
    before = git_server.commits()
    assert isinstance(result_of(repository.publish([removal]), removal), AlreadyThere)
    assert git_server.commits() == before


def test_suspend_changes_one_line_and_nothing_counts_as_edited(repository, git_server):
    repository.publish([place("llama")])
    repository.publish([Suspend(placed(repository, "llama"), True, "A cleaner hour is near.")])
    assert placed(repository, "llama").suspended
    assert not placed(repository, "llama").edited
    assert git_server.git("show", "--numstat", "--format=", "main").split()[:2] == ["2", "2"]


def test_the_next_attempt_waits_until_the_last_one_left_git(repository):
    repository.publish([place("llama")])
    second = place("llama", "ca-qc-1", attempt=2)
    refused = result_of(repository.publish([second]), second)
    assert isinstance(refused, Refused)
    assert refused.reason == "AttemptStillInGit"


def test_a_finished_attempt_makes_way_in_the_same_commit(repository, git_server):
    repository.publish([place("llama")])
    done = Remove(placed(repository, "llama"), "It failed.", finished=True)
    second = place("llama", attempt=2)
    published = repository.publish([second, done])
    assert isinstance(result_of(published, second), Committed)
    assert placed(repository, "llama").attempt == 2


def test_an_attempt_that_was_removed_is_not_run_again(repository):
    repository.publish([place("llama")])
    repository.publish([Remove(placed(repository, "llama"), "The job was deleted.")])
    refused = result_of(repository.publish([place("llama")]), place("llama"))
    assert isinstance(refused, Refused)
    assert refused.reason == "AlreadyRemoved"


def test_one_bad_intent_does_not_hold_up_the_others(repository):
    bad, good = place("../../policies/x"), place("good")
    published = repository.publish([bad, good])
    refused = result_of(published, bad)
    assert isinstance(refused, Refused)
    assert refused.reason == "InvalidName"
    assert isinstance(result_of(published, good), Committed)


def test_a_placement_id_depends_on_the_decision_alone():
    assert placement_id("3c1f", 1, 1) == placement_id("3c1f", 1, 1)
    assert len({placement_id("3c1f", g, a) for g in range(1, 9) for a in range(1, 9)}) == 64
