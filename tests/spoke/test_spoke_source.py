"""What a spoke reads from the fleet repository, and which commits it follows."""

import random
import subprocess

import pytest
from spoke_stack import SPOKE, intent, seeded

from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository, render
from carbonfleet.fleet.errors import HistoryUntrusted
from carbonfleet.fleet.git import signer_of
from carbonfleet.spoke import FleetFolder
from carbonfleet.spoke.admission import AdmissionRefusal, refusal_of
from carbonfleet.spoke.errors import SyncError
from carbonfleet.spoke.wanted import Folder, read_folder
from fixtures.fleet_values import facts_of, job_spec, place, quick_settings
from fixtures.git_server import GitServer
from fixtures.openpgp_keys import make_openpgp_key


@pytest.fixture
def git(tmp_path):
    server = GitServer(tmp_path / "server", seeded(tmp_path / "seed"))
    server.start()
    yield server
    server.stop()


def folder(git, tmp_path, **more):
    return FleetFolder(SPOKE, quick_settings(git.url, tmp_path / "spoke", **more), Clock())


def keypair(folder, name):
    key = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    subprocess.run(command, check=True, timeout=120)
    return key


def signers(folder, *keys):
    file = folder / "allowed_signers"
    lines = [f"hub@carbonfleet.dev {key.with_suffix('.pub').read_text()}" for key in keys]
    file.write_text("".join(lines))
    return file


def test_a_spoke_sees_its_own_folder_and_no_other(git, tmp_path):
    Repository(quick_settings(git.url, tmp_path / "hub"), Clock()).publish(
        [intent("llama"), place("mistral", "us-oh-1")]
    )
    found = folder(git, tmp_path).fetch()
    assert list(found.files) == [f"clusters/{SPOKE}/jobs/ml/llama.yaml"]
    assert found.facts.name == SPOKE
    wanted = read_folder(SPOKE, found)
    (one,) = wanted.placements.values()
    assert one.is_simulated
    assert one.grace_seconds == 180
    assert set(one.environment) == {"LORA_CONFIG", "LORA_OUTPUT", "LORA_ATTEMPT", "LORA_PLACEMENT"}
    assert wanted.problems == ()


def test_a_signed_commit_is_followed(git, tmp_path):
    key = keypair(tmp_path, "hub-key")
    hub = Repository(quick_settings(git.url, tmp_path / "hub", signing_key=key), Clock())
    hub.publish([intent("llama")])
    found = folder(git, tmp_path, allowed_signers=signers(tmp_path, key)).fetch()
    assert len(found.files) == 1


@pytest.mark.parametrize("signed_with", ["stranger", None])
def test_a_commit_without_a_good_signature_is_not_followed(git, tmp_path, signed_with):
    trusted = keypair(tmp_path, "trusted")
    key = keypair(tmp_path, signed_with) if signed_with else None
    hub = Repository(quick_settings(git.url, tmp_path / "hub", signing_key=key), Clock())
    hub.publish([intent("llama")])
    with pytest.raises(SyncError, match=r"UnsignedCommit: .* Nothing is made of it"):
        folder(git, tmp_path, allowed_signers=signers(tmp_path, trusted)).fetch()


def test_a_commit_signed_by_an_openpgp_key_is_followed_where_it_is_trusted(git, tmp_path):
    private, public = make_openpgp_key(tmp_path / "keys")
    _other, stranger = make_openpgp_key(tmp_path / "strangers")
    hub = Repository(quick_settings(git.url, tmp_path / "hub", signing_key=private), Clock())
    hub.publish([intent("llama")])
    mine = folder(git, tmp_path, allowed_signers=public)
    assert len(mine.fetch().files) == 1
    commit = mine.fetch().commit
    for trusted in (stranger, signers(tmp_path, keypair(tmp_path, "by-ssh"))):
        with pytest.raises(HistoryUntrusted, match="is not signed by a key in"):
            signer_of(mine.settings.directory, commit, trusted, "hub@carbonfleet.dev")


def test_an_unsigned_commit_on_top_of_a_signed_one_is_not_followed(git, tmp_path):
    key = keypair(tmp_path, "hub-key")
    Repository(quick_settings(git.url, tmp_path / "hub", signing_key=key), Clock()).publish([intent("llama")])
    mine = folder(git, tmp_path, allowed_signers=signers(tmp_path, key))
    mine.fetch()
    person = git.checkout()
    (person.pull() / "policies/default.yaml").unlink()
    person.push("Change something without a signature")
    with pytest.raises(SyncError, match="UnsignedCommit"):
        mine.fetch()


def test_a_git_server_that_is_away_is_a_sync_error(git, tmp_path):
    git.stop()
    with pytest.raises(SyncError, match="can't be reached"):
        folder(git, tmp_path).fetch()


def refusal_of_pushed(git, tmp_path, pushed):
    """What a spoke without a list of its own says of what a person pushed, as the hub would write it."""
    cluster, person = pushed.window.cluster, git.checkout()
    file = person.pull() / pushed.path
    file.parent.mkdir(parents=True)
    file.write_bytes(render(pushed.decision, pushed.spec, pushed.record, facts_of(cluster)))
    person.push("Train there")
    wanted = read_folder(cluster, FleetFolder(cluster, quick_settings(git.url, tmp_path / "spoke"), Clock()).fetch())
    [one] = wanted.placements.values()
    return refusal_of(one.placement, wanted, None, {})


def test_a_placement_that_a_person_pushed_is_judged_by_the_policies_beside_it(git, tmp_path):
    pushed = place("llama", "us-oh-1", spec=job_spec("personal"))
    assert refusal_of_pushed(git, tmp_path, pushed) == AdmissionRefusal(
        "ResidencyPolicy", "Policy eu-only allows EU, EEA; us-oh-1 is in US."
    )


@pytest.mark.parametrize("region", ["us-east-2", "ap-south-1"])
def test_a_placement_that_a_person_pushed_for_data_that_lies_elsewhere_does_not_begin(git, tmp_path, region):
    spec = job_spec("personal", dataset={"name": "acme/instructions", "region": region})
    refusal = refusal_of_pushed(git, tmp_path, place("llama", "no-osl-1", spec=spec))
    assert (refusal.reason, refusal.is_final) == ("StoreUndeclared", True)
    assert f"where region {region} lies, for the job's dataset" in refusal.message


def test_a_missing_cluster_file_says_that_nothing_is_pruned(git, tmp_path):
    found = FleetFolder("xx-new-1", quick_settings(git.url, tmp_path / "spoke"), Clock()).fetch()
    assert not found.is_there
    assert "clusters/xx-new-1/cluster.yaml: is missing" in found.problem


def hand_made(git, tmp_path, old, new):
    """The hub's file with something in it changed."""
    hub = Repository(quick_settings(git.url, tmp_path / "hub"), Clock())
    hub.publish([intent("llama")])
    path = f"clusters/{SPOKE}/jobs/ml/llama.yaml"
    content = hub.fetch().file(path)
    assert old.encode() in content
    return path, content.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kind: ConfigMap", "kind: Secret"),
        ("kind: RayJob", "kind: ClusterRoleBinding"),
        ('carbonfleet.dev/cluster: "no-osl-1"', 'carbonfleet.dev/cluster: "us-oh-1"'),
        ('carbonfleet.dev/namespace: "ml"', 'carbonfleet.dev/namespace: "kube-system"'),
        ('  namespace: "ml"', '  namespace: "kube-system"'),
        ('carbonfleet.dev/attempt: "1"', 'carbonfleet.dev/attempt: "none"'),
        ('carbonfleet.dev/attempt: "1"', 'carbonfleet.dev/attempt: "0"'),
        ('carbonfleet.dev/gpus: "2"', 'carbonfleet.dev/gpus: "-2"'),
        ('carbonfleet.dev/pool: "sim"', 'carbonfleet.dev/pool: "a b"'),
        ('carbonfleet.dev/placement-id: "', 'carbonfleet.dev/placement-id: "../'),
        ('  name: "llama-', '  name: "../llama-'),
        ("workerGroupSpecs:", "workers:"),
        ("env:", "env: 7\n                x:"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_a_problem_and_no_placement(git, tmp_path, old, new):
    path, content = hand_made(git, tmp_path, old, new)
    wanted = read_folder(SPOKE, Folder("c" * 40, None, "", {path: content}))
    assert wanted.placements == {}
    assert list(wanted.broken) == [path]
    assert wanted.leaves(path)


def test_a_file_elsewhere_is_no_placement_of_ours(git, tmp_path):
    path, content = hand_made(git, tmp_path, "RayJob", "RayJob")
    other = path.replace(SPOKE, "us-oh-1")
    assert read_folder(SPOKE, Folder("", None, "", {other: content})).placements == {}


def test_only_the_placements_own_config_map_is_read(git, tmp_path):
    path, content = hand_made(git, tmp_path, "key: config.json", "key: config.json")
    text = content.decode()
    name = text.split('configMapKeyRef: {name: "')[1].split('"')[0]
    stolen = text.replace(f'configMapKeyRef: {{name: "{name}"', 'configMapKeyRef: {name: "somebody-elses"')
    wanted = read_folder(SPOKE, Folder("", None, "", {path: stolen.encode()}))
    assert (wanted.placements, list(wanted.broken)) == ({}, [path])


def test_no_damage_to_a_file_makes_the_reading_fail(git, tmp_path):
    """Bytes and whole lines lost, doubled and changed: a problem or a placement, never an exception."""
    path, content = hand_made(git, tmp_path, "key: config.json", "key: config.json")
    dice = random.Random(7)
    lines = content.splitlines(keepends=True)
    for _ in range(150):
        damaged = list(lines)
        for _ in range(dice.randint(1, 3)):
            where = dice.randrange(len(damaged))
            line = damaged[where]
            cut = dice.randrange(len(line) + 1)
            damaged[where] = dice.choice([b"", line * 2, line[:cut], line[:cut] + dice.randbytes(2) + line[cut:]])
        found = read_folder(SPOKE, Folder("", None, "", {path: b"".join(damaged)}))
        assert len(found.placements) + len(found.broken) == 1
