"""The forge's webhooks: served, bounded, and never more than a reason to look."""

import contextlib
import hmac
import http.client
import socket
from pathlib import Path

import pytest

from carbonfleet.fleet.review import ForgeKind
from carbonfleet.hub.listeners.webhooks import PATH, listen
from carbonfleet.local.ports import free_port
from carbonfleet.probes import MOST_AT_ONCE, REQUEST_SECONDS, BoundedServer
from fixtures.fleet_values import NOON

SECRET = "a-long-secret"
BODY = b'{"action": "closed"}'


@pytest.fixture
def hints() -> list[str]:
    """One entry for each hint that was given."""
    return []


@pytest.fixture
def listener(tmp_path: Path, hints):
    (tmp_path / "secret").write_text(f"the-next-one\n{SECRET}\n")
    address = f"127.0.0.1:{free_port()}"
    made = listen(address, ForgeKind.GITHUB, tmp_path / "secret", lambda: NOON, lambda: hints.append("hint"))
    yield made
    made.close()


def signed(body: bytes, secret: str = SECRET, delivery: str = "1") -> dict[str, str]:
    digest = hmac.digest(secret.encode(), body, "sha256").hex()
    return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": delivery}


def post(listener: BoundedServer, body: bytes, headers: dict[str, str], path: str = PATH) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", listener.server_address[1], timeout=60)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_signed_delivery_hints_once_however_often_it_comes(listener, hints):
    assert [post(listener, BODY, signed(BODY)) for _ in range(3)] == [202] * 3
    assert hints == ["hint"]
    assert post(listener, BODY, signed(BODY, delivery="2")) == 202
    assert len(hints) == 2


def test_a_forged_delivery_is_refused_and_hints_nothing(listener, hints):
    assert post(listener, BODY, signed(BODY, "guessed")) == 401
    assert post(listener, BODY + b" ", signed(BODY)) == 401
    assert post(listener, BODY, {}) == 401
    assert hints == []


def test_either_of_two_secrets_holds_and_a_changed_file_counts_at_once(listener, hints, tmp_path):
    assert post(listener, BODY, signed(BODY, "the-next-one")) == 202
    (tmp_path / "secret").write_text("another\n")
    assert post(listener, BODY, signed(BODY, delivery="2")) == 401
    assert post(listener, BODY, signed(BODY, "another", "3")) == 202


def test_only_one_path_is_served(listener, hints):
    assert post(listener, BODY, signed(BODY), "/") == 404
    assert hints == []


def test_what_says_that_it_is_too_large_is_not_read(listener, hints):
    with socket.create_connection(listener.server_address[:2], timeout=60) as client:
        client.sendall(b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 26214401\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 413")
    assert hints == []


DRIPS = {
    "nothing": b"",
    "half a request line": b"POST /web",
    "headers without an end": b"POST /webhook HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "half a body": b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("sent", DRIPS.values(), ids=DRIPS)
def test_however_many_callers_drip_a_delivery_is_heard(listener, hints, sent):
    dripping = [socket.create_connection(listener.server_address[:2], timeout=60) for _ in range(3 * MOST_AT_ONCE)]
    for caller in dripping:
        with contextlib.suppress(ConnectionError):  # the oldest were ended by those that came after
            caller.sendall(sent)
    assert [post(listener, BODY, signed(BODY, delivery=str(number))) for number in range(5)] == [202] * 5
    ended = dripping[: 2 * MOST_AT_ONCE]
    assert all(is_over(caller) for caller in ended)
    for caller in dripping:
        caller.close()


def is_over(caller: socket.socket) -> bool:
    """The server has hung up, perhaps after a word of what was wrong."""
    try:
        while caller.recv(1000):
            pass
    except ConnectionError:
        pass
    return True


def test_a_caller_that_drips_is_hung_up_on_in_the_end(listener):
    waits = {"timeout": 10 * REQUEST_SECONDS}
    callers = [socket.create_connection(listener.server_address[:2], **waits) for _ in DRIPS]
    for caller, sent in zip(callers, DRIPS.values(), strict=True):
        caller.sendall(sent)
    assert all(is_over(caller) for caller in callers)
    for caller in callers:
        caller.close()


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_without_a_secret_nobody_listens(tmp_path, text):
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ValueError, match="needs a secret"):
        listen("127.0.0.1:0", ForgeKind.GITHUB, tmp_path / "secret", lambda: NOON, lambda: None)


def test_an_address_without_a_port_is_refused(tmp_path):
    with pytest.raises(ValueError, match="host:port"):
        listen("127.0.0.1", ForgeKind.GITHUB, tmp_path / "secret", lambda: NOON, lambda: None)
