"""Progress in MLflow, and runs that do not mind whether there is one."""

import json
import threading
from urllib.parse import parse_qs, urlsplit

import lora_runs as runs
import pytest

from fixtures.http_server import HttpServer, QuietHandler

TOKEN = "hunter2-of-mlflow"


class Mlflow(QuietHandler):
    """The part of MLflow's REST API that a client of its tracking needs: one experiment, runs, metrics, parameters."""

    def respond(self):
        server, parts = self.server, urlsplit(self.path)
        body = json.loads(self.body() or b"{}")
        if server.status:
            return self.answer(server.status, f'{{"error_code":"X","message":"{TOKEN}"}}'.encode())
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, b"{}")
        said = getattr(self, parts.path.removeprefix("/api/2.0/mlflow/").replace("/", "_").replace("-", "_"))
        return self.answer(*said(body | {key: value[0] for key, value in parse_qs(parts.query).items()}))

    def experiments_get_by_name(self, body):
        number = self.server.experiments.get(body["experiment_name"])
        if number is None:
            return 404, b'{"error_code":"RESOURCE_DOES_NOT_EXIST"}'
        return 200, json.dumps({"experiment": {"experiment_id": number}}).encode()

    def experiments_create(self, body):
        self.server.experiments[body["name"]] = "7"
        return 200, b'{"experiment_id":"7"}'

    def runs_create(self, body):
        self.server.runs.append({"of": body["experiment_id"], "name": body["run_name"], "metrics": [], "params": {}})
        return 200, json.dumps({"run": {"info": {"run_id": str(len(self.server.runs) - 1)}}}).encode()

    def runs_log_batch(self, body):
        run = self.server.runs[int(body["run_id"])]
        run["metrics"] += [(each["key"], each["step"], each["value"]) for each in body.get("metrics", [])]
        run["params"] |= {each["key"]: each["value"] for each in body.get("params", [])}
        return 200, b"{}"

    def runs_update(self, body):
        self.server.runs[int(body["run_id"])]["status"] = body["status"]
        return 200, b"{}"


@pytest.fixture
def mlflow():
    with HttpServer(Mlflow) as server:
        server.experiments, server.runs, server.status = {}, [], 0
        yield server


def tracked(url, output, **more) -> runs.Attempt:
    """A short run to its end."""
    return runs.train(runs.tiny(4), output, MLFLOW_TRACKING_URI=url, MLFLOW_TRACKING_TOKEN=TOKEN, **more)


def test_a_run_is_in_mlflow_with_its_settings_losses_and_end(mlflow, tmp_path):
    assert tracked(mlflow.url, tmp_path / "job").process.exitcode == 0
    [run] = mlflow.runs
    told = runs.metrics(tmp_path / "job")
    assert (mlflow.experiments, run["of"], run["name"]) == ({"carbonfleet": "7"}, "7", "job-1")
    assert run["status"] == "FINISHED"
    assert (run["params"]["model"], run["params"]["lora.rank"]) == ("carbonfleet/tiny-qwen2", "4")
    assert ("train_loss", 4, told["train_loss"]) in run["metrics"]


def test_each_loss_is_sent_once_at_its_own_step(mlflow, tmp_path):
    assert tracked(mlflow.url, tmp_path / "job").process.exitcode == 0
    [run] = mlflow.runs
    sent = {
        name: [each[1:] for each in run["metrics"] if each[0] == name] for name in ("train_loss", "validation_loss")
    }
    assert sent["validation_loss"] == [tuple(each) for each in runs.metrics(tmp_path / "job")["validations"]]
    assert [step for step, _ in sent["train_loss"]] == [1, 2, 3, 4]


def test_an_experiment_that_is_named_is_taken(mlflow, tmp_path):
    mlflow.experiments["mine"] = "3"
    tracked(mlflow.url, tmp_path / "job", MLFLOW_EXPERIMENT_NAME="mine")
    assert [run["of"] for run in mlflow.runs] == ["3"]


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_server_that_refuses_ends_no_run_and_tells_no_secret(mlflow, tmp_path, status):
    mlflow.status = status
    run = tracked(mlflow.url, tmp_path / "job")
    assert run.process.exitcode == 0
    assert [line for line in run.lines if "MLflow" in line] == [
        f"MLflow does not take what is tracked: HTTP {status}\n"
    ]
    assert TOKEN not in run.text


def test_a_server_that_is_gone_ends_no_run(tmp_path):
    with HttpServer(Mlflow) as server:
        url = server.url
    run = tracked(url, tmp_path / "job")
    assert run.process.exitcode == 0
    assert "MLflow does not take what is tracked: URLError" in run.text


def test_a_server_that_hangs_ends_no_run(tmp_path):
    over = threading.Event()

    class Silent(QuietHandler):
        def respond(self):
            over.wait(60)

    with HttpServer(Silent) as server:
        run = tracked(server.url, tmp_path / "job")
        over.set()
    assert run.process.exitcode == 0
    assert runs.metrics(tmp_path / "job")["step"] == 4


def test_an_address_that_is_no_server_is_named_without_being_quoted(tmp_path):
    run = tracked(f"databricks://{TOKEN}", tmp_path / "job")
    assert run.process.exitcode == 0
    assert "nothing is tracked: MLFLOW_TRACKING_URI is no http:// or https:// address" in run.text
    assert TOKEN not in run.text
