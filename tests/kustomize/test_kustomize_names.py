"""Every name in a rendered overlay stands for what is there, and none can be taken for another's."""

from itertools import chain, combinations
from typing import Any

import pytest
from references import Key, collisions, dangling, granted_names, key_of, references, unmounted, unreached
from rendering import OVERLAYS, render

from carbonfleet.hub import election
from carbonfleet.spoke.join import join_text
from fixtures.rendered import KUSTOMIZE, overlay, printed_commands

OPTIONAL = ("trusting", "reviewing", "carbon", "admitting", "monitoring", "sources", "postgresql")
"""Components that the hub's overlay leaves to people."""
OTHERS = {
    "applicationset": {
        ("Namespace", "", "argocd"),
        ("AppProject", "argocd", "carbonfleet"),
        ("ServiceAccount", "argocd", "argocd-applicationset-controller"),
    },
    "argocd": {("Namespace", "", "argocd")},
}
"""What Argo CD brings, or its admin makes."""
MADE_LATER = {("Lease", election.NAME), ("ConfigMap", "carbonfleet-cluster"), ("Namespace", "kube-system")}
"""Named in roles, and made by the hub, from a cluster file of the fleet repository, or by Kubernetes."""
SETS = [*((name,) for name in OVERLAYS if name != "serving"), ("flux", "serving")]
"""Overlays that are applied to one cluster; serving stands beside flux."""


def printed_secrets() -> set[Key]:
    """The Secrets that the comments of overlays and components, and `spoke join`, say how to make."""
    texts = [file.read_text() for file in sorted(KUSTOMIZE.rglob("kustomization.yaml"))]
    found = set()
    for command in chain.from_iterable(map(printed_commands, [*texts, join_text("no-osl-1", "kuberay")])):
        words = command.split()
        if "secret" in words:
            found.add(("Secret", words[words.index("-n") + 1], words[words.index("generic") + 1]))
    return found


def objects(*names: str) -> list[dict[str, Any]]:
    """The objects of overlays that are applied together."""
    return list(chain.from_iterable(map(render, names)))


def outside(*names: str) -> set[Key]:
    """What is neither rendered nor made from it."""
    return printed_secrets().union(*(OTHERS.get(name, set()) for name in names))


@pytest.fixture(scope="session", params=[c for n in range(3) for c in combinations(OPTIONAL, n)], ids="+".join)
def hub(request, tmp_path_factory):
    """The hub's overlay with some of its optional components."""
    return list(overlay(tmp_path_factory.mktemp("hub"), ["overlays/hub"], request.param))


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_every_name_in_an_overlay_stands_for_what_is_there(names):
    things = objects(*names)
    assert dangling(things, outside(*names)) == []
    assert unmounted(things) == []
    assert unreached(things) == []


def test_every_name_in_the_hub_with_its_components_stands_for_what_is_there(hub):
    assert dangling(hub, outside()) == []
    assert unmounted(hub) == []
    assert unreached(hub) == []


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_no_object_bears_a_name_that_a_role_grants_of_another_kind(names):
    assert collisions(objects(*names)) == []


def test_no_component_brings_such_a_name(hub):
    assert collisions(hub) == []


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_roles_grant_what_is_there_or_made_later(names):
    things = objects(*names)
    present = {(thing["kind"], thing["metadata"]["name"]) for thing in things} | MADE_LATER
    assert {(kind, name) for _, kind, name in granted_names(things)} <= present


def test_the_hub_s_role_grants_the_lease_that_the_hub_takes():
    leases = [granted for granted in granted_names(render("hub")) if granted[1] == "Lease"]
    roles = ("carbonfleet-hub", "carbonfleet-hub-lease")
    assert sorted(leases) == [(role, "Lease", election.NAME) for role in roles]


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_whatever_is_taken_away_is_missed_by_what_names_it(names):
    things = objects(*names)
    named = {one.target for thing in things for one in references(thing)} & {key_of(thing) for thing in things}
    assert named
    for target in named:
        left = [thing for thing in things if key_of(thing) != target]
        assert [text for text in dangling(left, outside(*names)) if f"stands for {'/'.join(target)}," in text]


def test_a_generated_settings_map_with_the_lease_s_name_would_be_found(tmp_path):
    own = {"name": election.NAME, "namespace": "carbonfleet-system", "literals": ["a=b"]}
    things = overlay(tmp_path, ["overlays/hub"], configMapGenerator=[own])
    found, *_others = sorted(collisions(things), reverse=True)
    assert found.startswith(f"carbonfleet-hub-lease grants Lease {election.NAME}-")
    assert [*granted_names(things)] != [*granted_names(render("hub"))]
