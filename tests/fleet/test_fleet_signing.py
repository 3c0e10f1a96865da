"""Signed commits: git itself verifies them, and a key that can't sign stops everything with a reason."""

import subprocess

import pytest

from carbonfleet.fleet import Repository, RepositoryInvalid
from carbonfleet.fleet.git import keyring
from fixtures.fleet_values import CLOCK, place, quick_settings
from fixtures.openpgp_keys import OWNER, make_openpgp_key


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "signing"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=120)
    return path


def signers(tmp_path, key):
    path = tmp_path / "allowed"
    path.write_text(f"hub@carbonfleet.dev {key.with_suffix('.pub').read_text()}")
    return f"gpg.ssh.allowedSignersFile={path}"


def test_git_verifies_the_signature_and_still_reads_the_trailers(git_server, tmp_path, key):
    hub = Repository(quick_settings(git_server.url, tmp_path / "hub", signing_key=key), CLOCK)
    hub.publish([place("llama")])
    checked = git_server.git("-c", signers(tmp_path, key), "log", "-1", "--format=%G? %GS", "main")
    assert checked == "G hub@carbonfleet.dev"
    git_server.git("-c", signers(tmp_path, key), "verify-commit", "main")
    assert place("llama").id in git_server.git("log", "-1", "--format=%(trailers:key=CTJ-Placement-Id)", "main")


def test_git_verifies_the_signature_of_an_openpgp_key(git_server, tmp_path):
    private, public = make_openpgp_key(tmp_path / "keys")
    hub = Repository(quick_settings(git_server.url, tmp_path / "hub", signing_key=private), CLOCK)
    hub.publish([place("llama")])
    with keyring(public) as environment:
        checked = git_server.git("log", "-1", "--format=%G? %GS", "main", **environment)
    assert checked == f"U {OWNER}"  # good; nobody has said how far the key's owner is trusted
    assert place("llama").id in git_server.git("log", "-1", "--format=%(trailers:key=CTJ-Placement-Id)", "main")


def test_an_openpgp_key_that_cannot_sign_stops_with_its_path(git_server, tmp_path):
    _private, public = make_openpgp_key(tmp_path / "keys")
    hub = Repository(quick_settings(git_server.url, tmp_path / "hub", signing_key=public), CLOCK)
    with pytest.raises(RepositoryInvalid, match=r"can't sign commits with the key .*public.asc: .*[Nn]o secret key"):
        hub.publish([place("llama")])


def test_a_missing_key_stops_with_its_path(git_server, tmp_path):
    hub = Repository(quick_settings(git_server.url, tmp_path / "hub", signing_key=tmp_path / "none"), CLOCK)
    before = git_server.commits()
    with pytest.raises(RepositoryInvalid, match=r"can't sign commits with the key .*none"):
        hub.publish([place("llama")])
    assert git_server.commits() == before
