"""What people do in the fleet repository is respected: reverts, edits, rewritten history, mass deletion."""

import pytest

from carbonfleet.fleet import Committed, Refused, Remove, Repository, Vanished, placement_id
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of

LLAMA = "clusters/no-osl-1/jobs/ml/llama.yaml"


def refusal(published, intent):
    result = published.results[intent.id]
    assert isinstance(result, Refused), result
    return result


def fresh(git_server, tmp_path):
    """A hub that was started anew and remembers nothing."""
    return Repository(quick_settings(git_server.url, tmp_path / "fresh"), CLOCK)


@pytest.fixture
def reverted(repository, person):
    repository.publish([place("llama")])
    person.pull()
    person.run("revert", "--no-edit", "HEAD")
    return person.push_head()


def test_a_reverted_placement_is_not_written_again(repository, reverted, git_server):
    refused = refusal(repository.publish([place("llama")]), place("llama"))
    assert refused.reason == "RevertedByHuman"
    assert f"Pat Person in {reverted[:10]}" in refused.message
    assert LLAMA not in git_server.files()


def test_a_hub_started_anew_still_knows_of_the_revert(git_server, reverted, tmp_path):
    hub = fresh(git_server, tmp_path)
    assert refusal(hub.publish([place("llama")]), place("llama")).reason == "RevertedByHuman"


def test_a_revert_holds_for_the_next_attempt_of_the_same_generation_too(repository, reverted):
    second = place("llama", attempt=2)
    assert refusal(repository.publish([second]), second).reason == "RevertedByHuman"


def test_a_changed_spec_may_be_placed_after_a_revert(repository, reverted):
    changed = place("llama", generation=2, attempt=2)
    assert isinstance(repository.publish([changed]).results[changed.id], Committed)


def test_the_replace_annotation_brings_a_reverted_placement_back(repository, reverted, git_server):
    asked = place("llama", replace=True)
    assert isinstance(repository.publish([asked]).results[asked.id], Committed)
    assert LLAMA in git_server.files()


def test_a_revert_is_told_from_the_hubs_own_removal(repository, reverted):
    repository.publish([place("qwen")])
    placed = repository.fetch().placements[uid_of("qwen")]
    repository.publish([Remove(placed, "The job was deleted.")])
    by_person = repository.vanished(placement_id(uid_of("llama"), 1, 1), LLAMA)
    assert by_person == Vanished(by_us=False, commit=reverted, author="Pat Person")
    by_hub = repository.vanished(placed.placement_id, placed.path)
    assert by_hub is not None
    assert by_hub.by_us


def test_history_knows_nothing_of_what_was_never_placed(repository):
    repository.fetch()
    assert repository.vanished("a" * 16, LLAMA) is None


def test_history_tells_every_attempt_that_was_placed_and_its_file(repository):
    repository.publish([place("llama")])
    placed = repository.fetch().placements[uid_of("llama")]
    repository.publish([Remove(placed, "It ended.", finished=True)])
    (first,) = repository.attempts(placed.uid)
    assert (first.placement_id, first.attempt, first.cluster) == (placed.placement_id, placed.attempt, placed.cluster)
    assert repository.placement_in(first.commit, first.path) == placed
    assert repository.placement_in(repository.fetch().commit, first.path) is None
    assert repository.placement_in("f" * 40, first.path) is None
    assert repository.attempts("nobody") == ()


def test_an_edited_placement_is_seen_and_left_alone(repository, person, git_server):
    repository.publish([place("llama")])
    person.edit(LLAMA, "backoffLimit: 3", "backoffLimit: 0")
    commit = person.push("Fail fast")
    assert repository.fetch().placements[uid_of("llama")].edited
    again = place("llama")
    repository.publish([again])
    assert git_server.git("rev-parse", "main") == commit


def test_an_edit_that_leaves_no_placement_is_left_alone(repository, person, git_server):
    repository.publish([place("llama")])
    (person.pull() / LLAMA).write_text("kind: Nonsense\n")
    commit = person.push("Break it")
    again = place("llama", attempt=2)
    assert refusal(repository.publish([again]), again).reason in {"EditedByHuman", "RevertedByHuman"}
    assert LLAMA in repository.known().problems
    assert git_server.git("rev-parse", "main") == commit


def test_a_rewritten_branch_counts_as_a_revert(repository, person, git_server):
    repository.publish([place("llama")])
    git_server.git("update-ref", "refs/heads/main", person.run("rev-parse", "HEAD"))
    refused = refusal(repository.publish([place("llama")]), place("llama"))
    assert refused.reason == "RevertedByHuman"
    assert "someone who rewrote the branch" in refused.message
    assert LLAMA not in git_server.files()


def test_a_commit_of_a_person_meanwhile_is_kept(repository, person, git_server):
    repository.fetch()
    (person.path / "NOTES.md").write_text("Mind the maintenance on Friday.\n")
    person.push("Leave a note")
    intent = place("llama")
    published = repository.publish([intent])
    assert isinstance(published.results[intent.id], Committed)
    assert published.tries == 2
    assert {"NOTES.md", LLAMA} <= set(git_server.files())


def test_removing_many_at_once_is_stopped(repository, git_server):
    repository.publish([place(f"job-{n}") for n in range(30)])
    placed = sorted(repository.fetch().placements.values(), key=lambda placement: placement.name)
    removals = [Remove(placement, "The job was deleted.") for placement in placed[:7]]
    published = repository.publish([*removals, place("new")])
    assert {refusal(published, removal).reason for removal in removals} == {"DeletionGuardTripped"}
    assert isinstance(published.results[place("new").id], Committed)
    assert len(repository.known().placements) == 31


def test_a_fifth_may_be_removed_at_once(repository):
    repository.publish([place(f"job-{n}") for n in range(30)])
    placed = sorted(repository.fetch().placements.values(), key=lambda placement: placement.name)
    repository.publish([Remove(placement, "The job was deleted.") for placement in placed[:6]])
    assert len(repository.known().placements) == 24


def test_finished_placements_leave_without_the_guard(repository):
    repository.publish([place(f"job-{n}") for n in range(30)])
    placed = repository.fetch().placements.values()
    repository.publish([Remove(placement, "It finished.", finished=True) for placement in placed])
    assert not repository.known().placements


def test_many_removals_can_be_allowed(repository):
    repository.publish([place(f"job-{n}") for n in range(30)])
    placed = repository.fetch().placements.values()
    repository.publish([Remove(p, "The fleet closes.") for p in placed], allow_many_removals=True)
    assert not repository.known().placements
