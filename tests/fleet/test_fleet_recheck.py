"""Policy and clusters are checked again on the tip that a placement is committed to."""

import re
from dataclasses import replace

import pytest

from carbonfleet.fleet import Committed, Refused
from fixtures.fleet_values import job_spec, place, uid_of


def reason_of(published, intent):
    result = published.results[intent.id]
    return result.reason if isinstance(result, Refused) else type(result).__name__


def test_residency_forbids_at_commit_what_the_planner_let_through(repository, git_server):
    personal = place("llama", "us-oh-1", spec=job_spec("personal"))
    assert reason_of(repository.publish([personal]), personal) == "ResidencyPolicy"
    assert not [path for path in git_server.files() if "/jobs/" in path]


def test_a_policy_pushed_meanwhile_holds_for_what_is_being_published(repository, person):
    repository.fetch()
    person.edit("policies/default.yaml", "{anywhere: true}", "{clusters: [ca-qc-1]}")
    person.push("Stay in Quebec")
    refused, allowed = place("llama", "no-osl-1"), place("qwen", "ca-qc-1")
    published = repository.publish([refused, allowed])
    assert reason_of(published, refused) == "ResidencyPolicy"
    assert isinstance(published.results[allowed.id], Committed)


@pytest.mark.parametrize(
    ("path", "old", "new", "reason"),
    [
        ("policies/eu-only.yaml", "kind: FleetPolicy", "kind: [", "PolicyInvalid"),
        ("policies/default.yaml", "public", "internal", "PolicyMissing"),
        ("clusters/no-osl-1/cluster.yaml", '"NO-NO1"', "NO", "ClusterInvalid"),
        ("clusters/no-osl-1/cluster.yaml", "a100,", "h100,", "NotRenderable"),
        ("clusters/no-osl-1/cluster.yaml", "    pools:", "    maintenance: true\n    pools:", "ClusterInMaintenance"),
    ],
)
def test_what_people_broke_or_closed_takes_nothing_new_until_they_mend_it(repository, person, path, old, new, reason):
    person.edit(path, old, new)
    person.push("Change a file")
    repository.fetch()
    assert reason_of(repository.publish([place("llama")]), place("llama")) == reason
    person.edit(path, new, old)
    person.push("Take it back")
    repository.fetch()
    assert reason_of(repository.publish([place("llama")]), place("llama")) == "Committed"


def test_a_removed_cluster_takes_nothing(repository, person):
    person.run("rm", "-r", "--quiet", "clusters/no-osl-1")
    person.push("Close Oslo")
    repository.fetch()
    assert reason_of(repository.publish([place("llama")]), place("llama")) == "ClusterMissing"


def test_a_broken_cluster_leaves_the_others_open(repository, person):
    person.edit("clusters/no-osl-1/cluster.yaml", '"NO-NO1"', "NO")
    person.push("Forget the quotes")
    tip = repository.fetch()
    assert set(tip.clusters) == {"ca-qc-1", "us-oh-1"}
    assert tip.cluster_problems["no-osl-1"].startswith("clusters/no-osl-1/cluster.yaml:8: zone: ")


def test_a_broken_policy_is_named_with_file_and_line(repository, person):
    person.edit("policies/eu-only.yaml", "jurisdictions: [EU, EEA]", "jurisdiction: EU")
    person.push("Mistype")
    assert repository.fetch().policies.problems == (
        "policies/eu-only.yaml:6: spec.residency.jurisdiction: no such field (did you mean jurisdictions?)",
    )


def test_the_advice_at_a_file_of_another_job_that_a_person_edited_lets_the_next_job_in(repository, person):
    repository.publish([place("llama")])
    file = person.pull() / place("llama").path
    file.write_text(re.sub("(?m)^( +)suspend: false", r"\1suspend: true", file.read_text()))
    person.push("Pause it by hand")
    made_anew = place("llama", uid=uid_of("llama", "made-anew"))
    for replaces in (False, True):
        wanted = replace(made_anew, replace=replaces)
        refused = repository.publish([wanted], planned_on=repository.fetch()).results[wanted.id]
        assert refused.reason == "PathTaken"
        assert "if that job is no more, remove the file from Git" in refused.message
    person.pull()
    file.unlink()
    person.push("Remove what is no job's")
    wanted = made_anew
    assert isinstance(repository.publish([wanted], planned_on=repository.fetch()).results[wanted.id], Committed)


def test_the_advice_at_a_job_s_own_file_that_a_person_edited_replaces_it(repository, person):
    repository.publish([place("llama")])
    file = person.pull() / place("llama").path
    file.write_text(re.sub("(?m)^( +)suspend: false", r"\1suspend: true", file.read_text()))
    person.push("Pause it by hand")
    wanted = replace(place("llama"), replace=True)
    assert isinstance(repository.publish([wanted], planned_on=repository.fetch()).results[wanted.id], Committed)
    assert not repository.fetch().placements[uid_of("llama")].edited
