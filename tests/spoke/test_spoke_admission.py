"""What a spoke lets in: its admin's own list, its pools, its free GPUs."""

import pytest
from spoke_values import wanted

from carbonfleet.api.cluster import ClusterFacts
from carbonfleet.api.policy import FleetPolicy
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.spoke.admission import AdmissionRefusal, AllowList, read_allow_list, refusal_of
from carbonfleet.spoke.errors import AllowListError
from carbonfleet.spoke.wanted import WantedSet

FACTS = ClusterFacts.model_validate(
    {
        "name": "no-osl-1",
        "region": "europe-north1",
        "zone": "NO-NO1",
        "jurisdictions": ["EEA"],
        "pools": [{"name": "sim", "gpuType": "A100", "gpus": 4, "memoryGib": 80}],
    }
)
LIST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: carbonfleet-allowed}
data:
  cluster: no-osl-1
  residency.public: allow
  residency.secret: deny
"""


def policies(*classes, problems=(), **residency):
    """One policy that speaks of these data classes, or of all."""
    spec = {"scope": {"dataClasses": list(classes)}, "residency": residency or {"anywhere": True}}
    policy = FleetPolicy.model_validate({"metadata": {"name": "only"}, "spec": spec})
    return PolicySet((policy,), problems=problems)


ANYWHERE = policies()


def reason(placement, allowed=None, held=None, facts=FACTS, rules=ANYWHERE):
    refusal = refusal_of(placement.placement, WantedSet(facts=facts, policies=rules), allowed, held or {})
    return (refusal.reason, refusal.is_final) if refusal else None


def test_without_a_list_everything_that_fits_is_let_in():
    assert reason(wanted()) is None


@pytest.mark.parametrize(
    ("data_class", "said"),
    [("public", None), ("secret", ("DataClassNotAllowed", True)), ("other", ("DataClassNotAllowed", True))],
)
def test_the_admins_list_decides(tmp_path, data_class, said):
    file = tmp_path / "allowed.yaml"
    file.write_text(LIST)
    assert reason(wanted(data_class=data_class), read_allow_list(file)) == said


def test_a_mounted_config_map_reads_the_same(tmp_path):
    file, folder = tmp_path / "allowed.yaml", tmp_path / "mounted"
    file.write_text(LIST)
    folder.mkdir()
    (folder / "..data").mkdir()
    for key, value in {"cluster": "no-osl-1", "residency.public": "allow", "residency.secret": "deny"}.items():
        (folder / key).write_text(value)
    expected = AllowList("no-osl-1", frozenset({"public"}))
    assert read_allow_list(file) == read_allow_list(folder) == expected


def test_a_list_for_another_cluster_lets_nothing_in():
    assert reason(wanted(), AllowList("us-oh-1", frozenset({"public"}))) == ("WrongCluster", True)
    assert reason(wanted(), AllowList("no-osl-1", frozenset({"public"}))) is None


@pytest.mark.parametrize("text", ["[]", "data: {", "just text"])
def test_a_broken_list_holds_everything_and_ends_nothing(tmp_path, text):
    file = tmp_path / "allowed.yaml"
    file.write_text(text)
    with pytest.raises(AllowListError) as caught:
        read_allow_list(file)
    assert reason(wanted(), caught.value) == ("AllowListUnreadable", False)
    file.write_text(LIST)
    assert reason(wanted(), read_allow_list(file)) is None


def test_a_missing_list_holds_everything(tmp_path):
    with pytest.raises(AllowListError):
        read_allow_list(tmp_path / "nowhere")


def test_a_placement_waits_for_gpus_and_a_pool_that_is_too_small_refuses():
    assert reason(wanted(gpus=2), held={"sim": 3}) == ("WaitingForGpus", False)
    assert reason(wanted(gpus=2), held={"sim": 2}) is None
    assert reason(wanted(gpus=5)) == ("PoolTooSmall", True)
    assert reason(wanted(pool="h100")) == ("NoSuchPool", True)


def test_the_policies_beside_a_placement_decide_whoever_wrote_it():
    assert reason(wanted(), rules=policies("public", jurisdictions=["EEA"])) is None
    assert reason(wanted(), rules=policies("public", jurisdictions=["US"])) == ("ResidencyPolicy", True)
    assert reason(wanted(), rules=policies("internal")) == ("PolicyMissing", True)
    assert reason(wanted(), rules=WantedSet().policies) == ("PolicyMissing", True)


def test_policies_that_cant_be_read_hold_what_is_new_and_end_nothing():
    assert reason(wanted(), rules=policies(problems=("policies/x.yaml:1: is empty",))) == ("PolicyInvalid", False)


def test_a_broken_cluster_file_holds_what_is_new():
    assert reason(wanted(), facts=None) == ("ClusterFileInvalid", False)
    assert reason(wanted(), facts=FACTS) is None


def test_a_refusal_says_what_the_admin_can_do(tmp_path):
    placement, rules = wanted(data_class="secret").placement, WantedSet(facts=FACTS, policies=ANYWHERE)
    refusal = refusal_of(placement, rules, AllowList("", frozenset()), {})
    assert refusal == AdmissionRefusal(
        "DataClassNotAllowed",
        "the spoke's own list does not allow data class secret; its admin may add residency.secret: allow",
    )
    file = tmp_path / "allowed.yaml"
    file.write_text(LIST.replace("secret: deny", "secret: allow"))
    assert refusal_of(placement, rules, read_allow_list(file), {}) is None
