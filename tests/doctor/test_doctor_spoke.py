"""`carbonfleet spoke join --check` on a spoke joined by the printed steps; then one thing after another fails."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.kube import Kube, path
from fixtures.http_server import HttpServer, QuietHandler
from fixtures.installed_hub import SYSTEM, TOKEN, InstalledHub, installed_hub
from fixtures.installed_spoke import RAY_IMAGE, TENANT, InstalledSpoke, installed_spoke
from fixtures.kubeapi_server import eventually
from fixtures.printed_steps import follow
from fixtures.rendered import KUSTOMIZE, kubeconfig_of, kustomize

RBAC = "apis/rbac.authorization.k8s.io/v1"
LINES = [
    "spoke's api",
    "crd rayjobs.ray.io",
    "crd rayclusters.ray.io",
    "kuberay operator",
    "allow list",
    "agent",
    "applier",
    f"rights in {TENANT}",
    f"volume in {TENANT}",
    "clock of the spoke",
    "git",
    "cluster file",
    "hub's public key",
    "hub's api",
    "token for the hub",
    "rights on the hub",
    "spoke on the hub",
    "clock of the hub",
    "clock of git",
    "gpus a100",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[InstalledHub]:
    """One that leads."""
    with installed_hub(tmp_path_factory.mktemp("hub")) as found:
        yield found


@pytest.fixture(scope="module")
def spoke(hub, tmp_path_factory) -> Iterator[InstalledSpoke]:
    """Each test leaves it as it was."""
    with installed_spoke(hub, tmp_path_factory.mktemp("spoke")) as found:
        yield found


def states(found) -> dict[str, list[str]]:
    """The lines that are not ok."""
    said: dict[str, list[str]] = {}
    for name, line in found.items():
        if line["state"] != "ok":
            said.setdefault(line["state"], []).append(name)
    return said


def test_a_spoke_that_was_joined_by_the_printed_steps_is_ok_in_every_line(spoke):
    code, found = spoke.check()
    assert (code, list(found), states(found)) == (0, LINES, {})


def set_secret(spoke, name: str, key: str, value: str) -> str:
    """Another value in a Secret of the agent's; the one before."""
    where = path("api/v1", "secrets", SYSTEM, name)
    before = base64.b64decode(spoke.kube.get(where)["data"][key]).decode()
    spoke.kube.patch(where, {"data": {key: base64.b64encode(value.encode()).decode()}})
    return before


@contextmanager
def an_object(spoke, where: str, change: dict, then: dict) -> Iterator[None]:
    """One that is patched, and patched back."""
    spoke.kube.patch(where, change)
    yield
    spoke.kube.patch(where, then)


OPERATOR = path("apis/apps/v1", "deployments", "ray-system", "kuberay-operator")
AGENT = path("apis/apps/v1", "deployments", SYSTEM, "carbonfleet-agent", "status")
CLAIM = path("api/v1", "persistentvolumeclaims", TENANT, "carbonfleet-checkpoints", "status")
NODE = path("api/v1", "nodes", "", "gpu-0")
ALLOWED = path("api/v1", "configmaps", SYSTEM, "carbonfleet-allowed")


def image(name: str) -> dict:
    """A Deployment's."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "kuberay-operator", "image": name}]}}}}


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    """As Flux writes it."""
    at = "2026-01-31T12:00:00Z"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


PATCHED = [
    ("kuberay operator", OPERATOR, image("quay.io/kuberay/operator:v1.5.1"), image(RAY_IMAGE), "--version 1.6.0"),
    (
        "kuberay operator",
        OPERATOR,
        {"metadata": {"labels": None}},
        {"metadata": {"labels": {"app.kubernetes.io/name": "kuberay-operator"}}},
        "helm upgrade --install kuberay-operator",
    ),
    ("agent", AGENT, {"status": {"availableReplicas": 0}}, {"status": {"availableReplicas": 1}}, "logs deploy/"),
    (
        f"volume in {TENANT}",
        CLAIM,
        {"status": {"phase": "Pending"}},
        {"status": {"phase": "Bound"}},
        "--shared-storage",
    ),
    (
        "allow list",
        ALLOWED,
        {"data": {"cluster": "ca-qc-1"}},
        {"data": {"cluster": "no-osl-1"}},
        "install spoke no-osl-1",
    ),
    (
        "allow list",
        ALLOWED,
        {"data": {"residency.public": "deny"}},
        {"data": {"residency.public": "allow"}},
        "--allow DATA-CLASS",
    ),
    (
        "gpus a100",
        NODE,
        {"metadata": {"labels": {"carbonfleet.dev/pool": None}}},
        {"metadata": {"labels": {"carbonfleet.dev/pool": "a100"}}},
        "label more nodes",
    ),
    (
        "gpus a100",
        NODE,
        {"metadata": {"labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}}},
        {"metadata": {"labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}}},
        "gpuType",
    ),
    (
        "gpus a100",
        f"{NODE}/status",
        {"status": {"allocatable": {"nvidia.com/gpu": None}}},
        {"status": {"allocatable": {"nvidia.com/gpu": "8"}}},
        "device plugin",
    ),
]


@pytest.mark.parametrize(("line", "where", "change", "then", "advice"), PATCHED)
def test_an_object_that_is_not_as_it_must_be_is_one_line(spoke, line, where, change, then, advice):
    with an_object(spoke, where, change, then):
        code, found = spoke.check()
        assert (code, states(found)) == (1, {"missing": [line]})
        assert advice in found[line]["advice"]
    assert spoke.check()[0] == 0


@contextmanager
def a_definition_less(spoke):
    where = path("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "", "rayclusters.ray.io")
    kept = spoke.kube.get(where)
    spoke.kube.delete(where)
    yield "helm upgrade --install kuberay-operator"
    kept["metadata"] = {"name": kept["metadata"]["name"]}
    spoke.kube.create(path("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"), kept)


@contextmanager
def a_token_that_git_refuses(spoke):
    before = set_secret(spoke, "carbonfleet-fleet-readonly", "password", "wrong")
    yield "token or key"
    set_secret(spoke, "carbonfleet-fleet-readonly", "password", before)


@contextmanager
def signers_that_do_not_know_a_signer(spoke):
    hub_alone = f'hub@carbonfleet.dev namespaces="git" {(spoke.hub.root / "hub.pub").read_text()}'
    before = set_secret(spoke, "carbonfleet-hub-signers", "allowed_signers", hub_alone)
    yield "the keys of who signed it"
    set_secret(spoke, "carbonfleet-hub-signers", "allowed_signers", before)


@contextmanager
def a_cluster_file_less(spoke):
    work = spoke.hub.checkout()
    work.run("rm", "-q", f"clusters/{spoke.name}/cluster.yaml")
    work.run("commit", "--quiet", "-m", "Leave")
    work.push_head()
    yield "spoke join --fleet CHECKOUT"
    work.run("revert", "--no-edit", "HEAD")
    work.push_head()


FAULTS = [
    (a_definition_less, "crd rayclusters.ray.io"),
    (a_token_that_git_refuses, "git"),
    (signers_that_do_not_know_a_signer, "hub's public key"),
    (a_cluster_file_less, "cluster file"),
]


@pytest.mark.parametrize(("fault", "line"), FAULTS, ids=lambda each: getattr(each, "__name__", None))
def test_one_thing_that_is_missing_is_one_line_whose_advice_mends_it(spoke, fault, line):
    with fault(spoke) as advice:
        code, found = spoke.check()
        assert (code, states(found).get("missing")) == (1, [line]), found
        assert advice in found[line]["advice"]
    eventually(lambda: spoke.check()[0] == 0)


SYNCED = {"status": {"conditions": [condition("Ready", "True", "ReconciliationSucceeded", "Applied revision: main")]}}
FAILED = {"status": {"conditions": [condition("Ready", "False", "BuildFailed", "no such folder")]}}
FLUX = path("apis/kustomize.toolkit.fluxcd.io/v1", "kustomizations", SYSTEM)
SOURCE = path("apis/source.toolkit.fluxcd.io/v1", "gitrepositories", SYSTEM)
ARGOCD = path("apis/argoproj.io/v1alpha1", "applications", "argocd")


@pytest.fixture
def watching(spoke) -> Iterator[InstalledSpoke]:
    """The same, whose agent leaves it to others to apply, with their definitions."""
    folder = Path(os.environ["CARBONFLEET_CONFORMANCE_DIR"])
    for file in (*sorted((folder / "flux").glob("*.yaml")), folder / "argocd" / "application-crd.yaml"):
        done = spoke.api.kubectl("apply", "--server-side", "-f", str(file))
        assert done.returncode == 0, done.stderr
    where = path("apis/apps/v1", "deployments", SYSTEM, "carbonfleet-agent")
    agent = spoke.kube.get(where)
    variables = agent["spec"]["template"]["spec"]["containers"][0]["env"]
    next(each for each in variables if each["name"] == "CARBONFLEET_APPLY")["value"] = "watch"
    spoke.kube.replace(where, agent)
    yield spoke
    next(each for each in variables if each["name"] == "CARBONFLEET_APPLY")["value"] = "agent"
    agent["metadata"].pop("resourceVersion")
    spoke.kube.replace(where, agent)


def test_a_spoke_whose_agent_only_watches_needs_flux_to_be_ready(watching):
    def missing(*lines: str) -> dict[str, dict[str, str]]:
        code, found = watching.check()
        assert (code, states(found)) == ((1, {"missing": [*lines]}) if lines else (0, {}))
        return found

    kube = watching.kube
    assert "--applier flux or argocd wrote" in missing("applier")["applier"]["advice"]
    for thing in kustomize(KUSTOMIZE / "overlays/spoke/flux"):
        if thing["kind"] in ("GitRepository", "Kustomization"):
            kube.create(FLUX if thing["kind"] == "Kustomization" else SOURCE, thing)
    assert "no controller has looked at it yet" in missing("flux source", "applier")["applier"]["message"]
    kube.patch(f"{SOURCE}/carbonfleet/status", SYNCED)
    kube.patch(f"{FLUX}/carbonfleet/status", FAILED)
    assert "is not ready: BuildFailed: no such folder" in missing("applier")["applier"]["message"]
    kube.patch(f"{FLUX}/carbonfleet/status", SYNCED)
    missing()
    kube.patch(f"{FLUX}/carbonfleet", {"spec": {"suspend": True}})
    follow(missing("applier")["applier"]["advice"], {}, watching.root, watching.api.kubeconfig)
    missing()
    for where in (FLUX, SOURCE):
        kube.delete(f"{where}/carbonfleet")


def test_a_spoke_whose_agent_only_watches_needs_argo_cd_to_be_synced(watching):
    kube = watching.kube
    kube.create(path("api/v1", "namespaces"), {"metadata": {"name": "argocd"}})
    for thing in kustomize(KUSTOMIZE / "overlays/spoke/argocd"):
        if thing["kind"] == "Application":
            kube.create(ARGOCD, thing)
    kube.patch(f"{ARGOCD}/carbonfleet", {"status": {"sync": {"status": "OutOfSync"}}})
    _code, found = watching.check()
    assert states(found) == {"missing": ["applier"]}
    assert "is not synced: OutOfSync" in found["applier"]["message"]
    kube.patch(f"{ARGOCD}/carbonfleet", {"status": {"sync": {"status": "Synced"}}})
    assert watching.check()[0] == 0
    kube.delete(f"{ARGOCD}/carbonfleet")


def test_rights_that_the_hub_took_away_are_named(spoke):
    name = f"carbonfleet-spoke-{spoke.name}"
    spoke.hub.kube.delete(path(RBAC, "clusterrolebindings", "", name))
    _code, found = spoke.check()
    lacking = found["rights on the hub"]
    assert lacking["message"] == "not granted: get spokeclusters/status no-osl-1, patch spokeclusters/status no-osl-1"
    follow(lacking["advice"], {}, spoke.root, spoke.hub.api.kubeconfig)
    assert spoke.check()[0] == 0


def deleted(where: str):
    """Breaks a spoke by the loss of an object."""
    return lambda spoke: spoke.kube.delete(where)


def with_a_short_token(spoke) -> None:
    api, account = spoke.hub.api, (f"spoke-{spoke.name}", "agent")
    made = api.kubectl("-n", account[0], "create", "token", account[1], "--duration=600s")
    config = yaml.safe_load(kubeconfig_of(api, *account, spoke.root / "short").read_text())
    config["users"][0]["user"]["token"] = made.stdout.strip()
    set_secret(spoke, "carbonfleet-hub", "kubeconfig", yaml.safe_dump(config))


def without_a_label(spoke) -> None:
    spoke.kube.patch(NODE, {"metadata": {"labels": {"carbonfleet.dev/pool": None}}})


MENDED = [
    (deleted(path("api/v1", "configmaps", SYSTEM, "carbonfleet-site")), "site", ("OVERLAY",)),
    (deleted(path("api/v1", "secrets", SYSTEM, "carbonfleet-fleet-readonly")), "git", ("TOKEN",)),
    (deleted(path(RBAC, "rolebindings", TENANT, "carbonfleet-agent")), f"rights in {TENANT}", ("OVERLAY",)),
    (with_a_short_token, "token for the hub", ("SPOKE",)),
    (without_a_label, "gpus a100", ("NODE",)),
]
"""What breaks, the line that says so, and what a person fills in."""


@pytest.mark.parametrize(("breaks", "line", "blanks"), MENDED, ids=[line for _, line, _ in MENDED])
def test_the_command_of_an_advice_mends_what_it_is_about(spoke, breaks, line, blanks):
    values = {
        "OVERLAY": str(spoke.root / spoke.name / "kustomize/overlays/spoke/agent"),
        "TOKEN": TOKEN,
        "SPOKE": str(spoke.api.kubeconfig),
        "NODE": "gpu-0",
    }
    breaks(spoke)
    code, found = spoke.check()
    assert (code, states(found)["missing"]) == (1, [line])
    where = spoke.hub.api if "spoke renew" in found[line]["advice"] else spoke.api
    follow(found[line]["advice"], {blank: values[blank] for blank in blanks}, spoke.root, where.kubeconfig)
    eventually(lambda: spoke.check()[0] == 0)


def test_an_api_that_does_not_answer_is_one_line_and_what_hangs_on_it_is_unknown(spoke, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(spoke.api.kubeconfig.read_text().replace(spoke.api.token, "nobody"))
    asked = ["spoke", "join", spoke.name, "--check", "--kubeconfig", str(config), "-o", "json"]
    done = CliRunner().invoke(app, asked)
    found = {line["name"]: line for line in json.loads(done.stdout)}
    assert (done.exit_code, states(found)["missing"]) == (1, ["spoke's api"])
    assert {"git", "hub's api", "gpus"} <= set(states(found)["unknown"])


class RayHead(QuietHandler):
    """As far as its version goes."""

    def respond(self) -> None:
        self.answer(200, json.dumps({"ray_version": "2.56.0", "session_name": "one"}).encode())


def test_a_host_without_kubernetes_is_checked_by_the_settings_of_its_agent(spoke, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    head = HttpServer(RayHead)
    settings = {
        "fleet-url": spoke.hub.git.url,
        "fleet-token-file": str(tmp_path / "token"),
        "allowed-signers": str(spoke.hub.root / "signers"),
        "hub-kubeconfig": str(spoke.root / "hub.kubeconfig"),
        "runtime": "ray",
        "ray-address": head.url,
        "state": str(tmp_path / "state"),
        "store": str(tmp_path / "store"),
    }
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(settings))
    asked = ["spoke", "join", spoke.name, "--check", "--runtime", "ray", "--settings", str(file), "-o", "json"]
    done = CliRunner().invoke(app, asked)
    found = {line["name"]: line for line in json.loads(done.stdout)}
    assert (done.exit_code, states(found)) == (0, {}), found
    assert found["ray"]["message"] == f"ray 2.56.0 answers at {head.url}"
    head.close()
    done = CliRunner().invoke(app, asked)
    found = {line["name"]: line for line in json.loads(done.stdout)}
    assert (done.exit_code, states(found)) == (1, {"missing": ["ray"]})


def test_a_renewed_kubeconfig_is_private_and_holds_no_more_than_the_spoke_s_own_rights(spoke, tmp_path):
    file = tmp_path / "hub.kubeconfig"
    renew = ["spoke", "renew", spoke.name, "--kubeconfig", str(spoke.hub.api.kubeconfig), "--to", str(file)]
    done = CliRunner().invoke(app, [*renew, "--server", spoke.hub.api.url])
    assert done.exit_code == 0, done.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert spoke.hub.api.token not in file.read_text()
    review = {"spec": {}}
    user = Kube.connect(file).create(path("apis/authentication.k8s.io/v1", "selfsubjectreviews"), review)
    assert user["status"]["userInfo"]["username"] == f"system:serviceaccount:spoke-{spoke.name}:agent"


def test_a_spoke_that_was_not_joined_gets_no_token(spoke, tmp_path):
    renew = ["spoke", "renew", "nobody", "--kubeconfig", str(spoke.hub.api.kubeconfig), "--to", str(tmp_path / "x")]
    done = CliRunner().invoke(app, renew)
    assert (done.exit_code, (tmp_path / "x").exists()) == (2, False)
    assert "spoke-nobody" in done.output
