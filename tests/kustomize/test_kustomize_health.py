"""What Flux and Argo CD make of a RayJob equals the one table, state by state."""

import re
from itertools import product
from typing import Any

import cel
import pytest
from rendering import find

from carbonfleet.api.rayjob import DEPLOYMENT_STATES, JOB_STATES, Health, rayjob_state

STATES = list(product(DEPLOYMENT_STATES, JOB_STATES))


def status_of(deployment: str, job: str) -> dict[str, str]:
    """A RayJob's status, where an empty field is left out as KubeRay does."""
    return {k: v for k, v in (("jobDeploymentStatus", deployment), ("jobStatus", job)) if v}


def flux_verdict(status: dict[str, str]) -> str:
    """As Flux asks: in progress, failed, current; progressing when none holds."""
    (rule,) = find("flux", "Kustomization")["spec"]["healthCheckExprs"]
    for name in ("inProgress", "failed", "current"):
        if cel.evaluate(rule[name], {"status": status}):
            return name
    return "inProgress"


@pytest.mark.parametrize(("deployment", "job"), STATES)
def test_flux_agrees_with_the_table(deployment, job):
    wanted = {
        Health.PROGRESSING: "inProgress",
        Health.DEGRADED: "failed",
        Health.HEALTHY: "current",
        Health.SUSPENDED: "current",
    }[rayjob_state(deployment, job).health]
    assert flux_verdict(status_of(deployment, job)) == wanted


def lua_script() -> str:
    return find("argocd", "ConfigMap", "argocd-cm")["data"]["resource.customizations.health.ray.io_RayJob"]


def lua_table(name: str) -> dict[str, str]:
    """The entries of `local <name> = {...}` in Argo CD's script."""
    body = re.search(rf"local {name} = \{{(.*?)\}}", lua_script(), re.DOTALL)
    assert body
    return dict(re.findall(r'(\w+) = "(\w+)"', body[1]))


def test_the_lua_script_names_every_state_once():
    assert set(lua_table("deployment")) == set(DEPLOYMENT_STATES) - {""}


def test_argo_cd_agrees_with_the_table():
    lupa: Any = pytest.importorskip("lupa", reason="lupa runs Argo CD's Lua: pip install lupa")
    lua = lupa.LuaRuntime()
    run = lua.eval(f"function(obj) {lua_script()} end")
    for deployment, job in STATES:
        answer = run(lua.table_from({"status": lua.table_from(status_of(deployment, job))}))
        assert answer["status"] == rayjob_state(deployment, job).health, (deployment, job)
