"""How many replicas serve: what KEDA is given, its formula evaluated over a day, and what can't be meant."""

import os
import sys
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kubernetes.client import models as kubernetes_models

sys.path.insert(0, str(Path(__file__).parents[1] / "kustomize"))

from rendering import conformance_crds, schema_problems
from test_fleet_serving import PAT, SERVING

from carbonfleet.fleet.check import read_checkout, read_files
from carbonfleet.fleet.serving import (
    Adapter,
    Scaling,
    Serving,
    ServingInvalid,
    ServingRefused,
    Sleep,
    publish_serving,
    read_serving,
    render_serving,
)
from carbonfleet.signals.zone_carbon import percentile_of, suggested_cap
from fixtures.expr_subset import evaluate
from fixtures.fleet_values import SEED
from fixtures.made_grids import made_grid

SCALING = Scaling(least=1, most=4, zone="NO-NO1")
ASLEEP = Sleep.of_use("Mon-Fri 08:00-18:00 Europe/Berlin")
SCALED = replace(SERVING, scaling=SCALING)
SLEEPING = replace(SERVING, sleep=ASLEEP)
BOTH = replace(SERVING, scaling=SCALING, sleep=ASLEEP)


def documents(serving: Serving) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(render_serving(serving))}


@pytest.mark.parametrize("serving", [SCALED, SLEEPING, BOTH], ids=["scaled", "sleeping", "both"])
def test_what_keda_and_kube_green_read_satisfies_their_definitions(serving):
    if not os.environ.get("CARBONFLEET_CONFORMANCE_DIR"):
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to the folder with KEDA's and kube-green's CRDs")
    crds = conformance_crds("keda") | conformance_crds("kube-green")
    found = [thing for kind, thing in documents(serving).items() if kind in crds]
    assert len(found) == 2 * (serving.scaling is not None) + (serving.sleep is not None)
    for thing in found:
        assert schema_problems(crds, thing) == []


@pytest.mark.parametrize("serving", [SCALED, SLEEPING, BOTH], ids=["scaled", "sleeping", "both"])
def test_nobody_but_keda_and_kube_green_sets_the_replicas(serving):
    deployment = documents(serving)["Deployment"]
    kubernetes_models.V1Deployment.model_validate(deployment)
    assert "replicas" not in deployment["spec"]
    assert deployment["spec"]["template"] == documents(SERVING)["Deployment"]["spec"]["template"]


def test_it_asks_the_hub_with_the_token_of_a_secret_and_keeps_what_runs_while_the_hub_is_silent():
    found = documents(SCALED)
    spec = found["ScaledObject"]["spec"]
    load, latency, cap = spec["triggers"]
    assert (load["name"], latency["name"], cap["name"]) == ("load", "latency", "cap")
    assert cap["metadata"] == {
        "url": "http://carbonfleet-carbon.carbonfleet-system.svc/carbon/v1/zones/NO-NO1",
        "valueLocation": "suggestedCapPercent",
        "targetValue": "1",
        "authMode": "bearer",
    }
    assert cap["authenticationRef"]["name"] == found["TriggerAuthentication"]["metadata"]["name"]
    assert found["TriggerAuthentication"]["spec"]["secretTargetRef"] == [
        {"parameter": "token", "name": "carbonfleet-carbon", "key": "token"}
    ]
    assert spec["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}
    assert 'namespace="ml",pod=~"serve-ranks-[a-z0-9]+-[a-z0-9]+"' in load["metadata"]["query"]


@cache
def formula_of(scaling: Scaling) -> str:
    """The one that is rendered."""
    spec = documents(replace(SERVING, scaling=scaling))["ScaledObject"]["spec"]
    return str(spec["advanced"]["scalingModifiers"]["formula"])


def wanted(scaling: Scaling, load: float, latency: float, cap: float) -> float:
    """What the rendered formula says."""
    return evaluate(formula_of(scaling), {"load": load, "latency": latency, "cap": cap})


def day_of(zone: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The last 28 days of a grid, and the day after them."""
    values = tuple(map(float, made_grid(days=29).grams_per_kwh[zone]))
    return values[:-24], values[-24:]


@pytest.mark.parametrize("least", [0, 1, 2])
@pytest.mark.parametrize("zone", range(3))
def test_over_a_day_it_follows_the_load_but_for_the_dirty_hours(least, zone):
    scaling = Scaling(least, 4, "DE", load_query="sum(gateway_requests)")
    past, day = day_of(zone)
    caps = [suggested_cap(percentile_of(grams, past), past) for grams in day]
    assert min(caps) < 75 < max(caps)
    grams_used = grams_uncapped = 0.0
    for load in (0, 3, 20, 40, 64, 500):
        for hour, (grams, cap) in enumerate(zip(day, caps, strict=True)):
            replicas, demanded = wanted(scaling, load, 0.5, cap), min(load / 16, 4)
            assert least <= replicas <= 4, hour
            assert replicas <= max(least, 1, 4 * cap / 100), hour
            assert replicas == pytest.approx(max(least, demanded)) or cap < 100, hour
            assert (replicas > 0) == (load > 0 or least > 0), hour
            assert wanted(scaling, load, 2.5, cap) == pytest.approx(max(least, demanded)), hour
            grams_used, grams_uncapped = grams_used + replicas * grams, grams_uncapped + max(least, demanded) * grams
    assert grams_used < grams_uncapped


def test_with_a_latency_beyond_its_objective_the_cap_is_lifted_until_it_is_met():
    """A closed loop: each replica takes 16 requests, and the first token waits as long as they are too many."""
    replicas, latencies = 1.0, []
    for _ in range(20):
        latencies.append(0.5 * max(1.0, 48 / (16 * replicas)) ** 2)
        replicas = float(np.ceil(wanted(SCALING, 48, latencies[-1], 0)))
    assert latencies[0] > 2 > latencies[1]
    assert not any(both > 2 for both in map(min, latencies, latencies[1:]))


def test_the_part_of_the_formulas_language_is_evaluated_as_there():
    assert evaluate("1 + 2 * 3 - 4 / 8", {}) == 6.5
    assert evaluate("a > 2 ? a > 5 ? 3 : 2 : 1", {"a": 3}) == 2
    assert evaluate("max(1, min(load / 8, floor(7 * 50 / 100)))", {"load": 100}) == 3
    for wrong in ("1 +", "a ?? 2", "a and b", "floor(1", "1 2", "x'y'"):
        with pytest.raises((ValueError, KeyError)):
            evaluate(wrong, {"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"least": 4}, "--min 4 --max 4"),
        ({"least": -1}, "--min -1"),
        ({"least": 0}, "--load-query"),
        ({"most": 200_000}, "up to 100000"),
        ({"zone": "../DE"}, "--zone must be"),
        ({"carbon_url": "http://hub.example/carbon/v1"}, "plain text to hub.example"),
        ({"carbon_url": "https://me:secret@hub.example/carbon/v1"}, "without a password"),
        ({"carbon_url": "ftp://hub.example"}, "must be like https"),
        ({"carbon_url": "https://hub.example:port"}, "is no address"),
        ({"carbon_url": "https://hub.example/carbon/v1?x=1"}, "address alone"),
        ({"prometheus": "prometheus:9090"}, "--prometheus must be like"),
        ({"load_query": "a\nb"}, "one line"),
        ({"load_query": "a" * 2001}, "one line"),
        ({"requests_per_replica": 0}, "--requests-per-replica"),
        ({"latency_objective_seconds": float("nan")}, "--latency-objective"),
        ({"latency_objective_seconds": 0}, "--latency-objective"),
    ],
)
def test_what_cant_be_meant_is_said_and_no_secret_with_it(changes, says):
    with pytest.raises(ValueError, match=says) as error:
        replace(SCALING, **changes)
    assert "secret" not in str(error.value)


def test_the_planner_reserves_what_it_may_grow_to():
    served = read_serving(SCALED.path, render_serving(replace(SCALED, gpus=2)))
    assert (served.gpus, served.differs, served.edited, len(served.places)) == (8, None, False, 2)
    for serving in (SLEEPING, BOTH):
        served = read_serving(serving.path, render_serving(serving))
        assert (served.differs, served.edited) == (None, False)
    assert served.gpus == 4


def test_a_person_may_change_a_value_and_nothing_else():
    text = render_serving(BOTH).decode()
    changed = read_serving(BOTH.path, text.replace("maxReplicaCount: 4", "maxReplicaCount: 3").encode())
    assert (changed.gpus, changed.edited, changed.differs) == (3, True, None)
    other = text.replace("name: carbonfleet-carbon, key: token", "name: everything, key: token")
    assert "not as it is rendered" in str(read_serving(BOTH.path, other.encode()).differs)
    fewer = "---\n".join(text.split("---\n")[:4])
    assert "holds 4 objects" in str(read_serving(BOTH.path, fewer.encode()).differs)
    for wrong in (text + "---\n" + text.split("---\n")[-1], text.replace("kind: SleepInfo", "kind: Secret")):
        with pytest.raises(ServingInvalid, match="nothing else but one TriggerAuthentication and ScaledObject"):
            read_serving(BOTH.path, wrong.encode())


def test_hostile_text_stays_in_its_field():
    query = 'sum(a{b="$namespace"}) # \u00e9 \' --- !!python "'
    found = documents(replace(SERVING, scaling=replace(SCALING, load_query=query)))
    assert found["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"] == f"({query}) or vector(0)"


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"zone": "DE"}, "is in zone NO-NO1, not DE"), ({"most": 5000}, r"has \d+ GPUs, not 5000: lower --max")],
)
def test_the_cluster_is_asked_on_the_tip(repository, changes, says):
    with pytest.raises(ServingRefused, match=says):
        publish_serving(repository, replace(SERVING, scaling=replace(SCALING, **changes)), PAT)


def test_it_is_written_to_git_and_policy_check_takes_it(repository):
    assert publish_serving(repository, BOTH, PAT).commit
    seed = read_files(SEED)
    assert read_checkout(seed | {BOTH.path: render_serving(BOTH)}).problems == ()


def test_asleep_it_is_kube_green_that_tells_keda_to_rest():
    spec = documents(BOTH)["SleepInfo"]["spec"]
    assert spec["includeRef"] == [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "serve-ranks"}]
    [patch] = spec["patches"]
    [operation] = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/metadata/annotations/autoscaling.keda.sh~1paused-replicas"
    assert documents(BOTH)["ScaledObject"]["metadata"]["annotations"]
    assert (spec["suspendDeployments"], documents(SLEEPING)["SleepInfo"]["spec"]["suspendDeployments"]) == (False, True)


@pytest.mark.parametrize(
    ("used", "lead", "weekdays", "sleeps", "wakes", "zone", "hours"),
    [
        ("Mon-Fri 08:00-18:00 Europe/Berlin", 15, "1-5", "18:00", "07:45", "Europe/Berlin", 116.75),
        ("Sat,Sun 9:30-12:00", 0, "0,6", "12:00", "09:30", "UTC", 163),
        ("daily 22:00-06:00 Asia/Tokyo", 30, "0-6", "06:00", "21:30", "Asia/Tokyo", 108.5),
        ("Fri-Mon 10:00-20:00", 0, "0,1,5,6", "20:00", "10:00", "UTC", 128),
        ("wed 00:15-23:59", 15, "3", "23:59", "00:00", "UTC", 168 - 23 - 59 / 60),
    ],
)
def test_use_is_read_and_waking_comes_before_it(used, lead, weekdays, sleeps, wakes, zone, hours):
    found = Sleep.of_use(used, timedelta(minutes=lead))
    assert (found.weekdays, found.sleep_at, found.wake_up_at, found.time_zone) == (weekdays, sleeps, wakes, zone)
    assert found.hours_asleep_per_week == pytest.approx(hours)
    spec = documents(replace(SERVING, sleep=found))["SleepInfo"]["spec"]
    assert (spec["weekdays"], spec["sleepAt"], spec["wakeUpAt"], spec["timeZone"]) == (weekdays, sleeps, wakes, zone)


@pytest.mark.parametrize(
    ("used", "says"),
    [
        ("", "must be like 'Mon-Fri"),
        ("Mon-Fri", "must be like"),
        ("Mon-Fri 8-18", "must be like"),
        ("Lundi 08:00-18:00", "must name days"),
        ("Mon-Fri 08:00-25:00", "from 00:00 to 24:00"),
        ("Mon-Fri 08:00-18:00 Europe/Berlim", "no time zone"),
        ("Mon-Fri 08:00-08:00", "no time to sleep"),
        ("daily 08:00-07:50", "no time to sleep"),
        ("Mon-Fri 22:00-06:00", "over midnight"),
        ("Mon-Fri 00:10-18:00", "over midnight"),
        ("Mon-Fri 08:00-18:00 " + "x" * 100, "must be like"),
    ],
)
def test_use_that_cant_be_kept_is_said(used, says):
    with pytest.raises(ValueError, match=says):
        Sleep.of_use(used)


def test_one_adapter_more_keeps_what_is_declared():
    more = replace(BOTH, adapters=(*BOTH.adapters, Adapter("ranks-r8", "s3://bucket/r8", 8)))
    assert documents(more)["ScaledObject"] == documents(BOTH)["ScaledObject"]
    assert render_serving(BOTH) == render_serving(BOTH)
