"""`carbonfleet status` over an API that holds anything at all: what can't be read is named, the rest is shown."""

import json
from copy import deepcopy
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_cli_hub import JOB, SPOKE, STATUS
from typer.testing import CliRunner

from carbonfleet.api import CarbonTrainingJob, SpokeCluster
from carbonfleet.cli import app
from fixtures.http_server import HttpServer, QuietHandler

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([1e400, "9999-12-31T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PLACES = [(), ("metadata",), ("metadata", "name"), ("spec",), ("spec", "pools"), ("status",), ("status", "conditions")]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A server of lists, and a kubeconfig of it."""
    lists = {"spokeclusters": [], "carbontrainingjobs": [], "carbontrainingschedules": []}

    class Handler(QuietHandler):
        def respond(self) -> None:
            kind = next(kind for kind in lists if kind in self.path)
            self.answer(200, json.dumps({"metadata": {}, "items": lists[kind]}).encode())

    server = HttpServer(Handler)
    file = tmp_path_factory.mktemp("api") / "kubeconfig"
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    clusters, users = [{"name": "a", "cluster": {"server": server.url}}], [{"name": "a", "user": {}}]
    kinds = {"apiVersion": "v1", "kind": "Config", "current-context": "a"}
    file.write_text(yaml.safe_dump({**kinds, "contexts": [context], "clusters": clusters, "users": users}))
    yield SimpleNamespace(lists=lists, kubeconfig=file)
    server.close()


def altered(body, place, value):
    """The object with something else in one place."""
    if not place:
        return value
    made = deepcopy(body)
    inner = made
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return made


def can_be_read(model, body) -> bool:
    try:
        model.model_validate(body)
    except Exception:  # noqa: BLE001 - an object may hold anything
        return False
    return True


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(is_job=st.booleans(), place=st.sampled_from(PLACES), value=ANY_JSON)
@example(is_job=True, place=(), value=None)
@example(is_job=False, place=("metadata",), value=[])
@example(is_job=False, place=("status", "heartbeatTime"), value="9999-12-31T00:00:00Z")
def test_any_json_in_any_object_ends_at_that_object(api, is_job, place, value):
    model, kind = (CarbonTrainingJob, "carbontrainingjobs") if is_job else (SpokeCluster, "spokeclusters")
    api.lists |= {"spokeclusters": [SPOKE], "carbontrainingjobs": [JOB | {"status": STATUS}]}
    odd = altered(api.lists[kind][0] | {"status": {}}, place, value)
    api.lists[kind] = [odd, *api.lists[kind]]
    done = CliRunner().invoke(app, ["status", "--kubeconfig", str(api.kubeconfig)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "NO-NO1" in done.stdout
    assert "Trains on no-osl-1 since noon." in done.stdout
    assert done.exit_code == (0 if can_be_read(model, odd) else 1), done.output
    assert (f"{model.__name__} " in done.stderr) == bool(done.exit_code)
