"""Every overlay renders, asks for the least it needs, and matches the CRDs of those who read it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import OVERLAYS, ROOT, SPOKES, conformance_crds, find, render, schema_problems, settings_of

from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi
from fixtures.rendered import KUSTOMIZE, NOT_SERVED, apply
from fixtures.rendered import overlay as rendered_overlay

WRITERS = {"agent": "carbonfleet-agent", "flux": "carbonfleet-applier", "argocd": "carbonfleet-applier"}
HOLDERS = [("hub", "carbonfleet-hub"), *((spoke, "carbonfleet-agent") for spoke in SPOKES)]


def pod_of(overlay: str, name: str) -> dict[str, Any]:
    return find(overlay, "Deployment", name)["spec"]["template"]["spec"]


def rules() -> Iterator[Any]:
    for overlay in OVERLAYS:
        for thing in render(overlay):
            for rule in thing.get("rules") or []:
                if thing["kind"] in ("Role", "ClusterRole"):
                    yield pytest.param(rule, id=f"{overlay}-{thing['metadata']['name']}-{rule['resources']}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_with_unique_objects(overlay):
    keys = [
        (thing["kind"], thing["metadata"].get("namespace", ""), thing["metadata"]["name"]) for thing in render(overlay)
    ]
    assert len(keys) == len(set(keys)) >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "kustomize").rglob("kustomization.yaml")), ids=str)
def test_no_kustomization_uses_what_kustomize_has_given_up(path):
    document = yaml.safe_load(path.read_text())
    assert {"vars", "commonLabels", "bases", "patchesStrategicMerge"}.isdisjoint(document)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_overlay_carries_a_secret(overlay):
    assert "Secret" not in {thing["kind"] for thing in render(overlay)}


@pytest.mark.parametrize("rule", list(rules()))
def test_no_role_has_a_wildcard_or_reads_secrets_or_escalates(rule):
    assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
    assert {"escalate", "bind", "impersonate"}.isdisjoint(rule["verbs"])
    assert {"secrets", "pods/exec", "serviceaccounts/token"}.isdisjoint(rule["resources"])


def test_the_hub_may_write_no_report_and_touch_no_rayjob():
    for rule in find("hub", "ClusterRole", "carbonfleet-hub")["rules"]:
        assert rule["apiGroups"] != ["ray.io"]
        if "trainingreports" in rule["resources"]:
            assert {"create", "update", "patch"}.isdisjoint(rule["verbs"])
        if "spokeclusters/status" in rule["resources"]:  # the condition Ready
            assert set(rule["verbs"]) == {"get", "patch"}


def bound_to(overlay: str, account: str) -> dict[tuple[str, str], set[str]]:
    """The verbs of an account on a spoke, by (namespace, resource)."""
    rules = {thing["metadata"]["name"]: thing["rules"] for thing in render(overlay) if thing.get("rules")}
    found: dict[tuple[str, str], set[str]] = {}
    for thing in render(overlay):
        if thing["kind"] == "RoleBinding" and thing["subjects"][0]["name"] == account:
            for rule in rules[thing["roleRef"]["name"]]:
                for resource in rule["resources"]:
                    key = (thing["metadata"]["namespace"], resource)
                    found[key] = found.get(key, set()) | set(rule["verbs"])
    return found


WRITES = {"create", "update", "patch", "delete"}


@pytest.mark.parametrize(("overlay", "writer"), WRITERS.items())
def test_who_applies_may_write_rayjobs_and_their_settings_for_tenants_only(overlay, writer):
    written = {key for key, verbs in bound_to(overlay, writer).items() if verbs & WRITES}
    fleet = {("carbonfleet-fleet", "configmaps")} if writer == "carbonfleet-applier" else set()
    assert written == {("team-a", "rayjobs"), ("team-a", "configmaps")} | fleet


@pytest.mark.parametrize("overlay", ["flux", "argocd"])
def test_an_agent_that_only_watches_may_write_nothing(overlay):
    assert not [key for key, verbs in bound_to(overlay, "carbonfleet-agent").items() if verbs & WRITES]


@pytest.mark.parametrize(("overlay", "writer"), WRITERS.items())
def test_who_applies_has_no_rights_where_the_allow_list_is(overlay, writer):
    home = find(overlay, "ConfigMap", "carbonfleet-allowed")["metadata"]["namespace"]
    assert home not in {namespace for namespace, _ in bound_to(overlay, writer)}


@pytest.mark.parametrize("overlay", SPOKES)
def test_nothing_on_a_spoke_is_bound_cluster_wide_and_every_subject_exists(overlay):
    accounts = {thing["metadata"]["name"] for thing in render(overlay) if thing["kind"] == "ServiceAccount"}
    bindings = [thing for thing in render(overlay) if thing["kind"].endswith("RoleBinding")]
    assert {thing["kind"] for thing in bindings} == {"RoleBinding"}
    assert {subject["name"] for thing in bindings for subject in thing["subjects"]} <= accounts


@pytest.mark.parametrize(("overlay", "name"), HOLDERS)
def test_every_pod_passes_the_restricted_standard(overlay, name):
    pod = pod_of(overlay, name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", ["hub", *SPOKES])
def test_every_namespace_enforces_the_restricted_standard(overlay):
    namespaces = [thing for thing in render(overlay) if thing["kind"] == "Namespace"]
    assert namespaces
    for namespace in namespaces:
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(("overlay", "name"), HOLDERS)
def test_a_pod_is_probed_where_it_answers(overlay, name):
    (container,) = pod_of(overlay, name)["containers"]
    address = {item["name"]: item.get("value") for item in container["env"]}["CARBONFLEET_LIVENESS"]
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == "health"]
    for probe in {"startupProbe", "livenessProbe", "readinessProbe"} & container.keys():
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert "livenessProbe" in container
    assert address == f"http://0.0.0.0:{port}/healthz"


@pytest.mark.parametrize(("overlay", "name"), HOLDERS)
def test_every_setting_in_a_manifest_is_one_that_the_command_reads(overlay, name):
    (container,) = pod_of(overlay, name)["containers"]
    given = {item["name"] for item in container["env"]}
    for source in container.get("envFrom", []):
        settings = [
            thing
            for thing in render(overlay)
            if thing["kind"] == "ConfigMap" and thing["metadata"]["name"] == source["configMapRef"]["name"]
        ]
        given |= {key for thing in settings for key in thing["data"]}
    known = settings_of(container["args"])
    refs = {item["name"]: item.get("valueFrom", {}).get("secretKeyRef", {}) for item in container["env"]}
    of_sources = {name for name, ref in refs.items() if ref.get("name") == "carbonfleet-signals"}
    assert given - known.keys() <= of_sources  # which the signal settings name
    assert {name for name, is_required in known.items() if is_required} <= given


@pytest.mark.parametrize(("overlay", "apply"), [("agent", "agent"), ("flux", "watch"), ("argocd", "watch")])
def test_the_agent_applies_only_where_nobody_else_does(overlay, apply):
    (container,) = pod_of(overlay, "carbonfleet-agent")["containers"]
    settings = {item["name"]: item.get("value") for item in container["env"]}
    assert settings["CARBONFLEET_APPLY"] == apply


@pytest.mark.parametrize("overlay", SPOKES)
def test_the_spokes_name_stands_in_one_place(overlay):
    cluster = find(overlay, "ConfigMap", "carbonfleet-site")["data"]["cluster"]
    assert find(overlay, "ConfigMap", "carbonfleet-allowed")["data"]["cluster"] == cluster


def test_flux_sees_and_applies_this_spokes_folder_only():
    source, kustomization = find("flux", "GitRepository"), find("flux", "Kustomization")
    site = find("flux", "ConfigMap", "carbonfleet-site")["data"]
    folder = f"clusters/{site['cluster']}"
    assert source["spec"]["sparseCheckout"] == [folder]
    assert source["spec"]["url"] == site["fleetUrl"]
    assert source["spec"]["verify"]["mode"] == "HEAD"
    assert kustomization["spec"]["path"] == f"./{folder}"
    assert kustomization["spec"]["serviceAccountName"] == "carbonfleet-applier"
    accounts = {thing["metadata"]["name"] for thing in render("flux") if thing["kind"] == "ServiceAccount"}
    assert kustomization["spec"]["serviceAccountName"] in accounts


def test_argo_cd_may_apply_two_kinds_in_the_tenants_namespaces_only():
    project = find("argocd", "AppProject")["spec"]
    application = find("argocd", "Application")["spec"]
    assert project["namespaceResourceWhitelist"] == [
        {"group": "", "kind": "ConfigMap"},
        {"group": "ray.io", "kind": "RayJob"},
    ]
    assert project["clusterResourceWhitelist"] == []
    assert application["source"]["directory"] == {"recurse": True}
    assert application["source"]["repoURL"] == project["sourceRepos"][0]
    assert application["syncPolicy"]["automated"]["allowEmpty"] is False


def test_the_hub_installs_nothing_of_argo_cd_or_flux():
    groups = {thing["apiVersion"].split("/")[0] for thing in render("hub")}
    assert groups.isdisjoint({"argoproj.io", "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io"})


def test_the_hubs_overlay_installs_the_generated_definitions():
    names = {thing["metadata"]["name"] for thing in render("hub") if "CustomResource" in thing["kind"]}
    assert names == {
        "carbontrainingjobs.carbonfleet.dev",
        "carbontrainingschedules.carbonfleet.dev",
        "spokeclusters.carbonfleet.dev",
        "trainingreports.carbonfleet.dev",
    }


@pytest.mark.parametrize(
    ("overlay", "folder", "kind"),
    [
        ("flux", "flux", "GitRepository"),
        ("flux", "flux", "Kustomization"),
        ("argocd", "argocd", "Application"),
        ("argocd", "argocd", "AppProject"),
        ("applicationset", "argocd", "ApplicationSet"),
    ],
)
def test_what_flux_and_argo_cd_read_matches_their_definitions(overlay, folder, kind):
    crds = conformance_crds(folder)
    if not crds:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder with other projects' CRDs")
    thing = find(overlay, kind)
    assert schema_problems(crds, thing) == []


@pytest.fixture(scope="module")
def strict_api(tmp_path_factory) -> Iterator[KubeApi]:
    """An API that has the definitions of all whose objects overlays and components may hold, and the overlays' own."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder with Flux's and Argo CD's CRDs")
    api = KubeApi(tmp_path_factory.mktemp("strict"), free_port())
    api.start()
    try:
        files = [str(file) for file in sorted(Path(folder).glob("*/*.yaml"))]
        done = api.kubectl("apply", "--server-side", *(word for file in files for word in ("-f", file)))
        assert done.returncode == 0, done.stderr
        apply(api, [thing for thing in render("hub") if thing["kind"] in ("CustomResourceDefinition", "Namespace")])
        spaces = [thing for name in OVERLAYS for thing in render(name) if thing["kind"] == "Namespace"]
        apply(api, spaces)
        assert api.kubectl("create", "namespace", "argocd").returncode == 0
        yield api
    finally:
        api.stop()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_api_takes_every_object_strictly_in_a_dry_run(strict_api, overlay):
    takes_all(strict_api, render(overlay))


@pytest.mark.parametrize("component", sorted(each.name for each in (KUSTOMIZE / "components").iterdir()))
def test_an_api_takes_every_object_of_a_component_strictly_in_a_dry_run(strict_api, component, tmp_path):
    base = "base/spoke" if component in ("verifying", "watching") else "base/hub"
    takes_all(strict_api, rendered_overlay(tmp_path / "mine", [base], [component]))


def takes_all(api, things):
    served = [thing for thing in things if thing["kind"] not in NOT_SERVED]
    done = dry_run(api, served)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "does not evaluate them" not in line] == []
    assert done.stdout.count("(server dry run)") == len(served)


def dry_run(api, things):
    arguments = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    return api.kubectl(*arguments, stdin=yaml.safe_dump_all(things))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("AppProject", "sourceRepo", ["https://git.example/x"]),
        ("ServiceMonitor", "endpoint", []),
        ("PrometheusRule", "group", []),
    ],
)
def test_an_unknown_field_would_be_refused_there(strict_api, tmp_path, kind, field, value):
    monitored = rendered_overlay(tmp_path / "mine", ["base/hub"], ["monitoring"])
    [thing] = [each for each in (*render("argocd"), *monitored) if each["kind"] == kind]
    done = dry_run(strict_api, [thing | {"spec": thing["spec"] | {field: value}}])
    assert done.returncode == 1
    assert field in done.stderr


def test_the_seed_of_the_fleet_has_a_folder_for_the_spoke_in_the_example():
    cluster = find("agent", "ConfigMap", "carbonfleet-site")["data"]["cluster"]
    assert (Path(ROOT) / "fleet" / "clusters" / cluster / "cluster.yaml").is_file()
