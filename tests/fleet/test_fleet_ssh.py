"""The fleet repository over a real sshd: the hub's key is let in, and only the pinned host is spoken to."""

import pytest

from carbonfleet.fleet import AccessDenied, Committed, Repository
from fixtures.fleet_values import CLOCK, place, quick_settings, uid_of
from fixtures.ssh_server import SshServer, make_key, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def server(tmp_path):
    made = SshServer(tmp_path / "sshd")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def hub(server, git_server, tmp_path):
    def opened(name="hub", **changes):
        given = {"ssh_key": server.key, "known_hosts": server.known_hosts} | changes
        return Repository(quick_settings(server.url(git_server.repository), tmp_path / name, tries=3, **given), CLOCK)

    return opened


def test_two_hubs_read_and_write_by_turns(hub, git_server):
    first, second = hub("first"), hub("second")
    first.fetch()
    second.fetch()
    assert isinstance(first.publish([place("llama")]).results[place("llama").id], Committed)
    published = second.publish([place("mistral")])
    assert isinstance(published.results[place("mistral").id], Committed)
    assert published.tries == 2
    assert set(first.fetch().placements) == {uid_of("llama"), uid_of("mistral")}


def test_a_host_with_another_key_than_the_pinned_one_is_told_nothing(hub, server, tmp_path):
    other = make_key(tmp_path / "other").with_suffix(".pub")
    with pytest.raises(AccessDenied, match=r"[Hh]ost key"):
        hub(known_hosts=server.pin(other, tmp_path / "pinned")).fetch()
    assert "Accepted publickey" not in (server.folder / "log").read_text()


def test_without_a_pinned_key_no_host_is_spoken_to(hub, server):
    with pytest.raises(AccessDenied, match=r"[Hh]ost key"):
        hub(known_hosts=None).fetch()
    assert "Accepted publickey" not in (server.folder / "log").read_text()


def test_a_key_that_the_server_does_not_know_is_denied(hub, tmp_path):
    with pytest.raises(AccessDenied, match="Permission denied"):
        hub(ssh_key=make_key(tmp_path / "stranger")).fetch()
