"""Jobs on their whole way with hub and agent as their overlays render them: accounts, tokens, signatures, review."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.install import SpokeOverlay, write
from carbonfleet.kube import Kube, Object, ours
from carbonfleet.local.ports import free_port
from carbonfleet.spoke.join import hub_rights, join_text
from fixtures.audited import Right, asked, forbidden, granted
from fixtures.forge_server import ForgeServer, Pull, merged_tree
from fixtures.git_server import GitServer
from fixtures.hub_process import SPEED, START, HubStack, condition, job_body, open_hub_stack
from fixtures.kubeapi_server import KubeApi, eventually
from fixtures.kuberay_spokes import KubeRaySpokes
from fixtures.rendered import KUSTOMIZE, Container, apply, create_secrets, hub_overlay, kubeconfig_of, kustomize
from fixtures.reviewed import SECRET, Reviewed

HOME = "carbonfleet-system"
KEYS = ("hub", "forge", "person")
SPOKE = "no-osl-1"
HUB, AGENT, REPORTER = (HOME, "carbonfleet-hub"), (HOME, "carbonfleet-agent"), (f"spoke-{SPOKE}", "agent")
UNUSED: dict[tuple[str, str], set[Right]] = {
    # An event that comes a second time is counted up, and none does here; nobody edits a cluster's file.
    HUB: {("get", "events"), ("patch", "events"), ("patch", "spokeclusters")},
    # The agent has the role of Flux and Argo CD here, who read back what they applied; and no pod runs that has a log.
    AGENT: {
        *((verb, plural) for verb in ("update", "watch") for plural in ("rayjobs", "configmaps")),
        *((verb, "configmaps") for verb in ("get", "list")),
        ("get", "pods/log"),
    },
    REPORTER: set(),
}
"""Rights that this way may do without, with the reasons."""


@dataclass
class Installation:
    """A hub's cluster and a spoke's, each with what its overlay renders, and what runs there."""

    reviewed: Reviewed
    hub: Container
    agent: Container
    rights: dict[tuple[str, str], set[Right]]
    logs: dict[tuple[str, str], Path]

    @property
    def stack(self) -> HubStack:
        """What the hub has to do with."""
        return self.reviewed.stack


@pytest.fixture(scope="module")
def installation(tmp_path_factory) -> Iterator[Installation]:
    """Everything, installed by the rendered manifests and the printed commands."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to a folder with kuberay/ray.io_rayjobs.yaml")
    root = tmp_path_factory.mktemp("whole")
    clock = Clock.starting_at(START, SPEED)
    hub_api, spoke_api = (_api(tmp_path_factory, name, clock) for name in ("hub", "spoke"))
    for name in KEYS:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True, timeout=60)
    stack = open_hub_stack(root / "stack", hub_api, clock)
    forge = ForgeServer.over(stack.git, "github", clock.now)
    forge.way = partial(_merged_and_signed, root / "forge")
    first = stack.git.git(*_signing(root / "person"), "main^{tree}", "-m", "Begin the fleet repository")
    stack.git.git("update-ref", "refs/heads/main", first)
    kuberay = KubeRaySpokes(stack, root / "kuberay")
    try:
        hub, hub_objects = _hub(root, stack, forge)
        done = spoke_api.kubectl("apply", "--server-side", "-f", str(Path(folder) / "kuberay" / "ray.io_rayjobs.yaml"))
        assert done.returncode == 0, done.stderr
        agent, spoke_objects, given = _spoke(root, stack, spoke_api)
        kuberay.play(Kube.connect(spoke_api.kubeconfig))
        stack.hubs += [hub.child(), agent.child()]
        for child in stack.hubs:
            child.start()
        eventually(lambda: _heard(stack), seconds=120)
        by_account = {HUB: hub_objects, AGENT: spoke_objects, REPORTER: given}
        yield Installation(
            Reviewed(stack, forge, hub.ports[8081]),
            hub,
            agent,
            {each: granted(things, *each) for each, things in by_account.items()},
            {each: (spoke_api if each == AGENT else hub_api).folder / "audit" for each in by_account},
        )
    finally:
        kuberay.close()
        stack.close()
        stack.git.stop()
        forge.stop()
        hub_api.stop()
        spoke_api.stop()


def _api(factory: pytest.TempPathFactory, name: str, clock: Clock) -> KubeApi:
    folder = factory.mktemp(name)
    log = ("--audit-log", str(folder / "audit"))
    api = KubeApi(folder, free_port(), options=log, environment={VARIABLE: clock.encode()})
    api.start()
    return api


def _signers(root: Path) -> Path:
    """The ALLOWED SIGNERS file of hub and spokes alike."""
    file = root / "signers"
    keys = {name: (root / f"{name}.pub").read_text() for name in KEYS}
    file.write_text("".join(f'{name}@carbonfleet.dev namespaces="git" {key}' for name, key in keys.items()))
    return file


def _signing(key: Path) -> tuple[str, ...]:
    return ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit-tree", "-S")


def _merged_and_signed(key: Path, git: GitServer, pull: Pull, tip: str, date: dict[str, str]) -> str:
    """A merge commit with the forge's own signature, as GitHub makes it."""
    return git.git(*_signing(key), merged_tree(git, pull, tip), "-p", tip, "-p", pull.branch, "-m", "Merge", **date)


def _hub(root: Path, stack: HubStack, forge: ForgeServer) -> tuple[Container, tuple[Object, ...]]:
    files = {"TOKEN_FILE": root / "token", "SSH_PRIVATE_KEY": root / "hub", "SECRET_FILE": root / "secret"}
    files["SIGNERS_FILE"] = _signers(root)
    files["TOKEN_FILE"].write_text(forge.token)
    files["SECRET_FILE"].write_text(SECRET)
    objects = hub_overlay(
        root / "overlay",
        ("trusting", "reviewing"),
        CARBONFLEET_FLEET_URL=stack.git.url,
        CARBONFLEET_FORGE=forge.kind,
        CARBONFLEET_FORGE_API=forge.url,
        CARBONFLEET_FORGE_REPOSITORY="acme/fleet",
        CARBONFLEET_LEASE_SECONDS="30",  # a machine may be busy
    )
    for file in ("overlays/hub", "components/trusting", "components/reviewing"):
        create_secrets(stack.api, (KUSTOMIZE / file / "kustomization.yaml").read_text(), files)
    apply(stack.api, objects)
    beside = {VARIABLE: stack.clock.encode(), "CARBONFLEET_SIGNALS": str(stack.signals)}
    return Container(stack.api, objects, "carbonfleet-hub", root / "hub-pod", beside), objects


def _spoke(root: Path, stack: HubStack, api: KubeApi) -> tuple[Container, tuple[Object, ...], tuple[Object, ...]]:
    given = hub_rights(SPOKE)
    done = stack.api.kubectl("apply", "-f", "-", stdin=given)
    assert done.returncode == 0, done.stderr
    kubeconfig_of(stack.api, *REPORTER, root / "hub.kubeconfig")
    overlay = SpokeOverlay(name=SPOKE, fleet_url=stack.git.url, tenants=(stack.namespace,), allow=("public",))
    folder = write(overlay, root / "spoke")
    objects = kustomize(folder)
    words = {"hub.kubeconfig": root / "hub.kubeconfig", "signers": _signers(root), "HUB_KEY.pub": root / "hub.pub"}
    (root / "hub.kubeconfig").chmod(0o600)
    text = join_text(SPOKE, "kuberay").partition("# 3. ")[2].replace("<read-only token>", "none")
    text = re.sub(r" \\\n# +", " ", text)
    create_secrets(api, text, words)
    apply(api, objects)
    beside = {VARIABLE: stack.clock.encode(), "CARBONFLEET_SYNC_SECONDS": "0.3", "CARBONFLEET_POLL_SECONDS": "0.2"}
    container = Container(api, objects, "carbonfleet-agent", root / "agent-pod", beside)
    return container, objects, tuple(yaml.safe_load_all(given))


def _heard(stack: HubStack) -> bool:
    for child in stack.hubs:
        assert child.is_alive, child.log.read_text()[-3000:]
    spokes, _ = stack.kube.list(ours("spokeclusters"))
    return any((spoke.get("status") or {}).get("heartbeatTime") for spoke in spokes)


def _whole_way(installation: Installation) -> None:
    """A job as it comes, one that people agree to, two that are deleted; and those of a schedule, every six hours."""
    stack, reviewed = installation.stack, installation.reviewed
    recurring = {"jobTemplate": {"spec": job_body("recurs", stack.namespace)["spec"]}}
    stack.kube.create(
        ours("carbontrainingschedules", stack.namespace),
        {
            "apiVersion": "carbonfleet.dev/v1alpha1",
            "kind": "CarbonTrainingSchedule",
            "metadata": {"name": "recurs"},
            "spec": {"schedule": "0 */6 * * *", "concurrencyPolicy": "Replace", **recurring},
        },
    )
    stack.submit("plain")
    stack.submit("agreed", review="required")
    stack.submit("left", review="required")
    pull = reviewed.pull("agreed")
    reviewed.merge(pull)
    eventually(lambda: reviewed.tell("closed", pull) == 202)
    stack.wait("plain", Phase.SUCCEEDED)
    assert condition(stack.wait("agreed", Phase.SUCCEEDED), "Approved").reason == "Merged"
    stack.wait("left", Phase.PROPOSED)
    stack.delete("left")
    stack.wait_gone("left")
    stack.submit("stopped", "run")
    stack.wait("stopped", Phase.RUNNING)
    for name in ("plain", "stopped"):
        stack.delete(name)
        stack.wait_gone(name)


def _unused(rights: set[Right], log: Path, account: tuple[str, str]) -> set[Right]:
    """What was not asked for; who lists objects may get them, and their status, without seeing more."""
    done = asked(log, *account)
    listed = {("get", name) for verb, plural in done if verb == "list" for name in (plural, f"{plural}/status")}
    return rights - done - listed


def test_jobs_come_to_their_end_with_no_request_refused_and_no_right_unused(installation):
    _whole_way(installation)
    assert "BEGIN SSH SIGNATURE" in installation.stack.git.git("cat-file", "commit", "main")
    refused = {each: forbidden(log, *each) for each, log in installation.logs.items()}
    assert refused == {each: [] for each in installation.logs}

    def unused() -> dict[tuple[str, str], set[Right]]:
        return {each: _unused(had, installation.logs[each], each) - UNUSED[each] for each, had in rights.items()}

    rights = installation.rights
    try:
        eventually(lambda: not any(unused().values()))  # reports are deleted once they are accounted
    except AssertionError:
        assert unused() == {each: set() for each in rights}
