"""The hub with every component: what is called is open, and nothing else."""

from typing import Any

import pytest
from rendering import settings_of

from carbonfleet.hub.admission import HANDLER
from carbonfleet.signals import TOKEN_VARIABLE, SignalSettings, load_settings
from fixtures.rendered import overlay

COMPONENTS = ("signing", "trusting", "reviewing", "carbon", "admitting", "sources", "postgresql")
ADDRESSES = ("WEBHOOK", "CARBON", "ADMISSION")


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> list[dict[str, Any]]:
    """The objects of the hub with all components."""
    return list(overlay(tmp_path_factory.mktemp("all"), ["base/hub"], COMPONENTS))


def of_kind(things: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [thing for thing in things if thing["kind"] == kind]


@pytest.fixture
def container(things) -> dict[str, Any]:
    (deployment,) = of_kind(things, "Deployment")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_every_setting_is_one_that_the_command_reads(container):
    known = settings_of(container["args"])
    keys = {item["name"] for item in container["env"] if "carbonfleet-signals" in str(item.get("valueFrom"))}
    assert {item["name"] for item in container["env"]} - known.keys() == keys
    assert keys >= {TOKEN_VARIABLE, "EIA_API_KEY", "ENTSOE_TOKEN"}


def test_the_sources_that_it_brings_are_those_of_a_hub_without_settings(things, tmp_path):
    (mapped,) = [thing for thing in of_kind(things, "ConfigMap") if "signals.yaml" in thing["data"]]
    (tmp_path / "signals.yaml").write_text(mapped["data"]["signals.yaml"])
    settings = load_settings(tmp_path / "signals.yaml")
    assert settings.sources == SignalSettings().sources
    assert settings == SignalSettings(store="sqlite:////var/lib/carbonfleet/signals.sqlite")


def test_every_address_has_its_port_its_service_and_its_hole_in_the_policy(things, container):
    settings = {item["name"]: item.get("value") or "" for item in container["env"]}
    served = {
        int(settings[name].rpartition(":")[2])
        for name in (f"CARBONFLEET_{each}" for each in ("METRICS", *(f"{kind}_ADDRESS" for kind in ADDRESSES)))
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    reached = {port["targetPort"] for service in of_kind(things, "Service") for port in service["spec"]["ports"]}
    opened = {
        port["port"]
        for policy in of_kind(things, "NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        for port in rule["ports"]
    }
    assert reached == opened == {"metrics", *map(str.lower, ADDRESSES)}
    assert {ports[name] for name in reached} == served


def test_every_mounted_folder_is_one_that_the_settings_name(container):
    settings = [item.get("value") or "" for item in container["env"]]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"] if mount["mountPath"] != "/tmp"]
    assert not [mount for mount in mounts if not any(value.startswith(mount) for value in settings)]


def test_the_api_calls_the_address_that_the_hub_answers_with_a_certificate_for_it(things):
    (configuration,) = of_kind(things, "ValidatingWebhookConfiguration")
    (webhook,) = configuration["webhooks"]
    (certificate,) = of_kind(things, "Certificate")
    service = webhook["clientConfig"]["service"]
    assert service["path"] == f"/{HANDLER}"
    assert certificate["spec"]["dnsNames"] == [f"{service['name']}.{service['namespace']}.svc"]
    names = {thing["metadata"]["name"] for thing in of_kind(things, "Service")}
    assert service["name"] in names
    assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Fail", "None")
