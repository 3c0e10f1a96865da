"""Overlays filled in for one cluster: each value reaches every place that depends on it, and nothing else changes."""

import re
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.install import HubOverlay, InstallError, SpokeOverlay, SyncTool, render, write
from fixtures.rendered import KUSTOMIZE, kustomize

URL = "ssh://git@git.acme.example/fleet.git"


def rendered(overlay: HubOverlay | SpokeOverlay) -> list[dict[str, Any]]:
    return list(yaml.load_all(render(overlay), Loader=yaml.CSafeLoader))


def differing(overlay: HubOverlay | SpokeOverlay) -> dict[tuple[str, str, str], set[str]]:
    """By object, the fields that differ from the shipped overlay, or `added` and `gone`."""
    shipped = {_key(thing): _leaves(thing) for thing in kustomize(KUSTOMIZE.parent / overlay.folder)}
    filled = {_key(thing): _leaves(thing) for thing in rendered(overlay)}
    found = {key: {"added"} for key in filled.keys() - shipped.keys()}
    found |= {key: {"gone"} for key in shipped.keys() - filled.keys()}
    for key in filled.keys() & shipped.keys():
        if fields := {field for field, _ in filled[key] ^ shipped[key]}:
            found[key] = fields
    return found


def _key(thing: dict[str, Any]) -> tuple[str, str, str]:
    name = re.sub(r"(carbonfleet-hub-settings)-[a-z0-9]{10}$", r"\1", thing["metadata"]["name"])
    return thing["kind"], thing["metadata"].get("namespace", ""), name


def _leaves(value: Any, at: str = "") -> set[tuple[str, str]]:
    if isinstance(value, dict):
        return set().union(*(_leaves(inner, f"{at}.{key}") for key, inner in value.items()))
    if isinstance(value, list):
        return set().union(*(_leaves(inner, at) for inner in value))
    return {(at.lstrip("."), re.sub(r"(carbonfleet-hub-settings)-[a-z0-9]{10}$", r"\1", str(value)))}


@pytest.mark.parametrize("overlay", [HubOverlay(), *(SpokeOverlay(applier=applier) for applier in SyncTool)])
def test_an_overlay_with_nothing_filled_in_is_the_shipped_one(overlay):
    assert differing(overlay) == {}


def test_the_hubs_settings_reach_its_config_map_and_its_volume():
    filled = HubOverlay(fleet_url=URL, fleet_branch="prod", baseline_region="eu-west-1", storage_class="fast")
    here = "carbonfleet-system"
    assert differing(filled) == {
        ("ConfigMap", here, "carbonfleet-hub-settings"): {
            "data.CARBONFLEET_FLEET_URL",
            "data.CARBONFLEET_FLEET_BRANCH",
            "data.CARBONFLEET_BASELINE_REGION",
        },
        ("PersistentVolumeClaim", here, "carbonfleet-hub"): {"spec.storageClassName"},
    }


def test_a_hub_without_signing_needs_no_key_and_its_components_add_what_they_are():
    assert "carbonfleet-signing" not in render(HubOverlay(sign=False))
    added = {key[:1] + key[2:] for key, how in differing(HubOverlay(reviewing=True)).items() if how == {"added"}}
    assert added == {("Service", "carbonfleet-webhook"), ("NetworkPolicy", "carbonfleet-webhook")}
    added = {key[:1] + key[2:] for key, how in differing(HubOverlay(carbon=True)).items() if how == {"added"}}
    assert added == {("Service", "carbonfleet-carbon"), ("NetworkPolicy", "carbonfleet-carbon")}
    assert "ValidatingWebhookConfiguration" in {thing["kind"] for thing in rendered(HubOverlay(admitting=True))}


@pytest.mark.parametrize("applier", SyncTool)
def test_a_spokes_values_reach_every_place_that_names_them(applier):
    filled = SpokeOverlay(
        name="de-fra-1",
        fleet_url=URL,
        fleet_branch="prod",
        applier=applier,
        tenants=("ml", "vision"),
        allow=("eu-personal",),
        storage_class="fast",
        shared_storage_class="nfs",
    )
    things = rendered(filled)
    text = yaml.safe_dump_all(things)
    assert not re.search(r"no-osl-1|team-a|git\.example", text)
    classes = {
        (thing["metadata"]["name"], thing["metadata"]["namespace"]): thing["spec"]["storageClassName"]
        for thing in things
        if thing["kind"] == "PersistentVolumeClaim"
    }
    assert classes == {
        ("carbonfleet-agent", "carbonfleet-system"): "fast",
        ("carbonfleet-checkpoints", "ml"): "nfs",
        ("carbonfleet-checkpoints", "vision"): "nfs",
    }
    (allowed,) = [thing for thing in things if thing["metadata"]["name"] == "carbonfleet-allowed"]
    assert allowed["data"] == {"cluster": "de-fra-1", "residency.eu-personal": "allow"}
    (site,) = [thing for thing in things if thing["metadata"]["name"] == "carbonfleet-site"]
    assert site["data"] == {"cluster": "de-fra-1", "fleetUrl": URL, "fleetBranch": "prod"}
    tenants = {thing["metadata"]["name"] for thing in things if thing["kind"] == "Namespace"}
    assert {"ml", "vision"} <= tenants


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("image", [f"ghcr.io/acme/operator@{DIGEST}", "registry.acme.example:5000/operator:1.2"])
@pytest.mark.parametrize("kind", [HubOverlay, SpokeOverlay])
def test_images_are_named_by_digest_or_tag_of_any_registry(kind, image):
    pods = [thing for thing in rendered(kind(operator_image=image)) if thing["kind"] == "Deployment"]
    assert [pod["spec"]["template"]["spec"]["containers"][0]["image"] for pod in pods] == [image]


def test_jobs_that_name_no_image_get_the_one_given():
    image = f"ghcr.io/acme/lora@{DIGEST}"
    changed = differing(HubOverlay(training_image=image))
    assert list(changed) == [("CustomResourceDefinition", "", "carbontrainingjobs.carbonfleet.dev")]


def test_an_agent_that_need_not_verify_asks_for_no_signers():
    assert "carbonfleet-hub-signers" in render(SpokeOverlay())
    assert "carbonfleet-hub-signers" not in render(SpokeOverlay(verify=False))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (SpokeOverlay, {"name": "a b"}),
        (SpokeOverlay, {"name": "../x"}),
        (SpokeOverlay, {"tenants": ("a\nkind: Secret",)}),
        (SpokeOverlay, {"tenants": ()}),
        (SpokeOverlay, {"allow": ('x"',)}),
        (SpokeOverlay, {"shared_storage_class": "a: b"}),
        (HubOverlay, {"fleet_url": "/srv/fleet.git"}),
        (HubOverlay, {"fleet_url": "https://user:secret@git.acme.example/x"}),
        (HubOverlay, {"fleet_branch": "--upload-pack=x"}),
        (HubOverlay, {"baseline_region": "x\ny"}),
        (HubOverlay, {"operator_image": "operator"}),
        (SpokeOverlay, {"operator_image": "x:1\n  y: z"}),
    ],
)
def test_a_value_that_fits_nowhere_is_refused_before_anything_is_written(kind, given):
    with pytest.raises(ValidationError):
        kind(**given)


def test_a_url_with_odd_characters_stays_one_value():
    odd = 'https://git.acme.example/a"b\\1: #c'
    (settings,) = [
        thing for thing in rendered(HubOverlay(fleet_url=odd)) if "hub-settings" in thing["metadata"]["name"]
    ]
    assert settings["data"]["CARBONFLEET_FLEET_URL"] == odd


def test_a_written_overlay_renders_as_the_printed_one_and_is_written_over_by_nothing(tmp_path):
    overlay = SpokeOverlay(name="de-fra-1", fleet_url=URL, tenants=("ml",))
    folder = write(overlay, tmp_path)
    assert list(kustomize(folder)) == rendered(overlay)
    with pytest.raises(InstallError, match="is there already"):
        write(overlay, tmp_path)


def test_the_command_writes_a_folder_and_says_how_to_apply_it(tmp_path):
    arguments = ["install", "hub", "--fleet-url", URL, "--to", str(tmp_path / "hub")]
    done = CliRunner().invoke(app, arguments)
    assert done.stdout.strip() == f"kubectl apply --server-side -k {tmp_path}/hub/kustomize/overlays/hub"
    assert kustomize(tmp_path / "hub/kustomize/overlays/hub") == tuple(rendered(HubOverlay(fleet_url=URL)))
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, "is there already" in refused.output) == (2, True)


def test_the_command_names_a_value_that_is_refused():
    refused = CliRunner().invoke(app, ["install", "spoke", "A"])
    assert refused.exit_code == 2
    assert "name" in refused.output
    assert len(refused.output.splitlines()) == 1
