"""The agent's way to the hub while its kubeconfig and token are replaced beside it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE

from carbonfleet.kube import TOKEN_SECONDS, Kube, KubeError
from carbonfleet.spoke import Agent, FleetFolder, HubLink
from fixtures.fleet_values import quick_settings
from fixtures.http_server import HttpServer, QuietHandler


class Api:
    """An API server that takes one token, and keeps which were shown to it."""

    def __init__(self, name: str, token: str) -> None:
        self.token, self.shown = token, []
        api = self

        class Handler(QuietHandler):
            def respond(self) -> None:
                api.shown.append(self.headers.get("Authorization", ""))
                allowed = api.shown[-1] == f"Bearer {api.token}"
                content = json.dumps({"api": name} if allowed else {"reason": "Unauthorized"}).encode()
                self.answer(200 if allowed else 401, content)

        self.server = HttpServer(Handler)
        self.url = self.server.url

    def close(self) -> None:
        self.server.close()


class Timer:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api("first", "old")
    yield made
    made.close()


@pytest.fixture
def other_api() -> Iterator[Api]:
    made = Api("second", "new")
    yield made
    made.close()


def write(file: Path, url: str, **user: object) -> Path:
    """Put a kubeconfig in the place of the one that is there, in one step."""
    content = {
        "current-context": "hub",
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "agent"}}],
        "clusters": [{"name": "hub", "cluster": {"server": url}}],
        "users": [{"name": "agent", "user": user}],
    }
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    return fresh.replace(file)


def renew_by_token_file(file: Path, url: str, token: str) -> Path:
    (file.parent / "token").write_text(f"{token}\n")
    return file if file.exists() else write(file, url, tokenFile="token")


def renew_by_kubeconfig(file: Path, url: str, token: str) -> Path:
    return write(file, url, token=token)


@pytest.mark.parametrize("renew", [renew_by_token_file, renew_by_kubeconfig])
def test_a_token_that_is_replaced_is_used_after_token_seconds(api, tmp_path, renew):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(renew(file, api.url, "old"), timer)
    quick = kube.within(5)
    assert (kube.get("/version"), quick.get("/version")) == ({"api": "first"}, {"api": "first"})
    renew(file, api.url, "new")
    api.token = "new"
    timer.seconds += TOKEN_SECONDS - 1
    with pytest.raises(KubeError) as caught:
        kube.get("/version")
    assert caught.value.status == 401
    timer.seconds += 1
    assert (kube.get("/version"), quick.get("/version")) == ({"api": "first"}, {"api": "first"})
    assert api.shown == ["Bearer old"] * 3 + ["Bearer new"] * 2


@pytest.mark.parametrize("renew", [renew_by_token_file, renew_by_kubeconfig])
def test_credentials_handed_to_others_are_those_of_the_moment(api, tmp_path, renew):
    file = tmp_path / "kubeconfig"
    kube = Kube.connect(renew(file, api.url, "old"), Timer())
    assert kube.credentials()["token"] == "old"
    renew(file, api.url, "new")
    assert kube.credentials()["token"] == "new"


def test_a_kubeconfig_that_names_another_server_leads_there(api, other_api, tmp_path):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(write(file, api.url, token="old"), timer)
    assert kube.get("/version") == {"api": "first"}
    write(file, other_api.url, token="new")
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "second"}
    assert (kube.url, api.shown, other_api.shown) == (other_api.url, ["Bearer old"], ["Bearer new"])


@pytest.mark.parametrize("broken", ["", "{", "[]", "users: [{user: 1}]", "users: 3", None])
def test_a_kubeconfig_that_is_broken_for_a_while_ends_nothing(api, tmp_path, broken):
    timer, file = Timer(), tmp_path / "kubeconfig"
    kube = Kube.connect(write(file, api.url, token="old"), timer)
    file.unlink() if broken is None else file.write_text(broken)
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "first"}
    write(file, api.url, token="new")
    api.token = "new"
    timer.seconds += TOKEN_SECONDS
    assert kube.get("/version") == {"api": "first"}


def test_a_program_that_gives_tokens_is_not_run_again_while_nothing_changed(api, tmp_path):
    timer, runs, script = Timer(), tmp_path / "runs", tmp_path / "give.py"
    given = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "old"},
    }
    script.write_text(f"open({str(runs)!r}, 'a').write('run ')\nprint({json.dumps(given)!r})\n")
    program = {
        "apiVersion": given["apiVersion"],
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    kube = Kube.connect(write(tmp_path / "kubeconfig", api.url, exec=program), timer)
    for _ in range(3):
        assert kube.get("/version") == {"api": "first"}
        timer.seconds += TOKEN_SECONDS
    assert runs.read_text() == "run "


ACCOUNT = "projected"
"""Of a pod in the hub's own cluster, or of one whose tokens the hub's API takes: it has the rights of the spoke's."""


def account_with_the_spokes_rights(stack) -> None:
    """Bind them to another account, whose tokens a kubelet projects."""
    where = f"spoke-{SPOKE}"
    made = stack.api.kubectl("-n", where, "create", "serviceaccount", ACCOUNT)
    assert made.returncode == 0, made.stderr
    for binding in ("rolebinding/agent", f"clusterrolebinding/carbonfleet-spoke-{SPOKE}"):
        account = f"--serviceaccount={where}:{ACCOUNT}"
        done = stack.api.kubectl("-n", where, "set", "subject", binding, account)
        assert done.returncode == 0, done.stderr


def project(stack, volume: Path) -> None:
    """Put a new token into a volume as a kubelet does: a folder of its own, and a link that is replaced."""
    issued = stack.api.kubectl("-n", f"spoke-{SPOKE}", "create", "token", ACCOUNT, "--duration=10m")
    assert issued.returncode == 0, issued.stderr
    folder = volume / f"..{len(list(volume.iterdir()))}"
    folder.mkdir()
    (folder / "token").write_text(issued.stdout.strip())
    (volume / "..new").symlink_to(folder.name)
    (volume / "..new").rename(volume / "..data")
    if not (volume / "token").is_symlink():
        (volume / "token").symlink_to("..data/token")


def test_an_agent_goes_on_with_each_token_that_a_kubelet_projects(bare_stack, tmp_path):
    stack, timer, volume = bare_stack, Timer(), tmp_path / "volume"
    stack.settings |= {"heartbeat_seconds": 1, "heartbeat_least_seconds": 0.01}
    volume.mkdir()
    account_with_the_spokes_rights(stack)
    project(stack, volume)
    config = yaml.safe_load(stack.hub_kubeconfig.read_text())
    config["users"][0]["user"] = {"tokenFile": str(volume / "token")}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    settings = stack.agent_settings()
    repository = quick_settings(stack.git.url, settings.state / "fleet.git")
    hub = HubLink(Kube.connect(file, timer), SPOKE)
    agent = Agent(settings, FleetFolder(SPOKE, repository, stack.clock), SimulatedRuntime(SPOKE), hub, stack.clock)
    stack.agents.append(agent)
    stack.cycle_until(agent, lambda: stack.spoke().status.heartbeat_time)
    for words in (("delete",), ("create",)):  # the token of before is worth nothing any more
        assert stack.api.kubectl("-n", f"spoke-{SPOKE}", *words, "serviceaccount", ACCOUNT).returncode == 0
    with pytest.raises(KubeError, match="401"):
        hub.standing()
    agent.cycle()
    project(stack, volume)
    timer.seconds += TOKEN_SECONDS
    before = stack.spoke().status.heartbeat_time
    stack.cycle_until(agent, lambda: stack.spoke().status.heartbeat_time != before)
