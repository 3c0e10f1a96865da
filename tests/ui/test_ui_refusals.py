"""What the page refuses, what it never does, and what it says where something is wrong."""

import socket

import pytest
import requests
from served_page import Page

from carbonfleet.signals import SignalSettings
from carbonfleet.ui import PageSettings
from fixtures.kubeapi_server import eventually

VIEWS = ("/", "/timeline", "/jobs", "/sweeps", "/savings", "/proposals")


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_fleet_has_every_view_with_the_first_command(page, view):
    assert "<code>" in page.text(view)


@pytest.mark.parametrize("path", [*VIEWS, "/static/style.css", "/nowhere", "/jobs/team-a/nobody", "/jobs/A/b"])
def test_every_answer_has_the_headers_that_keep_others_out(page, path):
    headers = page.get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; base-uri 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "carbonfleet"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_reading_is_answered(page, method):
    answer = requests.request(method, f"{page.url}/jobs", data="x", timeout=60)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_head_is_answered_without_a_body(page):
    answer = requests.head(f"{page.url}/jobs", timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", ""])
def test_a_name_that_was_rebound_to_loopback_is_refused(page, host):
    answer = page.get("/jobs", Host=host)
    assert answer.status_code in (400, 421)
    assert "no job" not in answer.text


def test_loopbacks_own_names_are_answered(page):
    port = page.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "LOCALHOST"):
        assert page.get("/jobs", Host=host).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/jobs/team-a/nobody", 404),
        ("/jobs/team-a/..%2f..%2fsecrets", 400),
        ("/jobs/UPPER/case", 400),
        ("/jobs?sort=salary", 400),
        ("/jobs?page=0", 400),
        ("/jobs?page=" + "9" * 4000, 400),
        ("/timeline?hours=1000000", 400),
        ("/sweeps/team-a/none", 404),
        ("/static/../server.py", 404),
        ("/static/%2e%2e/server.py", 404),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(page, path, status):
    with socket.create_connection(("127.0.0.1", int(page.url.rpartition(":")[2])), timeout=60) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: caller.recv(65536), b"")).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "<main" in answer
    assert f'<p class="lead">{status}: ' not in answer
    assert "Traceback" not in answer


def test_a_kubeconfig_that_is_not_there_is_told_on_the_page(tmp_path):
    served = Page(tmp_path / "nowhere", tmp_path)
    try:
        text = served.shows("Not up to date", "/")
        assert "set KUBECONFIG" in text
    finally:
        served.stop()


SETTINGS = {"kubeconfig": None, "ledger": "", "signals": SignalSettings()}


@pytest.mark.parametrize("address", ["0.0.0.0:8088", "[::]:8088", "192.0.2.1:80"])
def test_an_address_that_others_reach_wants_a_proxy_that_knows_people(address, tmp_path):
    with pytest.raises(ValueError, match="asks nobody who they are"):
        PageSettings(**SETTINGS, address=address)
    token = tmp_path / "token"
    token.write_text("short")
    with pytest.raises(ValueError, match="16 characters or more"):
        PageSettings(**SETTINGS, address=address, proxy_token_file=token)
    token.write_text("long-enough-for-a-token")
    with pytest.raises(ValueError, match="--hosts"):
        PageSettings(**SETTINGS, address=address, proxy_token_file=token)
    assert PageSettings(**SETTINGS, address=address, proxy_token_file=token, hosts=("carbon.example.org",)).port


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":80", "127.0.0.1:x", "example.org:80", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(address):
    with pytest.raises(ValueError, match="IP:PORT"):
        PageSettings(**SETTINGS, address=address)


def test_behind_a_proxy_only_its_token_and_its_names_open_the_page(hub, tmp_path):
    token = tmp_path / "token"
    token.write_text("token-that-the-proxy-sends\n")
    options = ("--proxy-token-file", str(token), "--hosts", "carbon.example.org")
    served = Page(hub.api.kubeconfig, tmp_path, *options)
    try:
        right = {"Authorization": "Bearer token-that-the-proxy-sends", "Host": "carbon.example.org"}
        assert served.get("/", **right).status_code == 200
        assert served.get("/", Host="carbon.example.org").status_code == 401
        assert served.get("/", **right | {"Authorization": "Bearer another-token-altogether"}).status_code == 401
        assert served.get("/", **right | {"Host": "evil.example"}).status_code == 421
    finally:
        served.stop()


def test_an_api_that_breaks_leaves_what_was_read_and_says_so(hub, page):
    hub.apply("stays")
    page.shows("stays", "/jobs")
    hub.api.kill()
    assert "stays" in page.shows("Check that the API runs", "/jobs")
    assert page.get("/jobs/team-a/stays").status_code == 503
    hub.api.start()
    hub.apply("comes-later")
    page.shows("comes-later", "/jobs")
    eventually(lambda: "The Kubernetes API" not in page.text("/jobs"))
