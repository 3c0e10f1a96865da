"""What the kubelet is told of a process."""

import urllib.error
import urllib.request

import pytest

from carbonfleet.local.ports import free_port
from carbonfleet.probes import ProbeResult, answer_probes


@pytest.fixture
def served():
    """A URL with probes, and the results that they give: the last counts."""
    results = [ProbeResult(True, "Leading: as a")]
    url = f"http://127.0.0.1:{free_port()}/healthz"
    server = answer_probes(url, lambda: results[-1])
    yield url, results
    server.close()


def ask(url: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_healthy_process_answers_200_and_says_what_it_does(served):
    url, _ = served
    assert ask(url) == (200, "Leading: as a\n")


def test_an_unhealthy_process_answers_503_with_the_reason(served):
    url, results = served
    results.append(ProbeResult(False, "LeaseRefused: no right"))
    assert ask(url) == (503, "LeaseRefused: no right\n")


def test_another_path_is_not_there(served):
    url, _ = served
    assert ask(url + "/x")[0] == 404


@pytest.mark.parametrize("url", ["8080", "https://127.0.0.1:8080/healthz", "http://127.0.0.1/healthz", "http://:8080/"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="must be like"):
        answer_probes(url, lambda: ProbeResult(True, ""))
