"""The operator and the sensor in Airflow itself: DAGs that are run whole, against a hub and simulated spokes."""

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.kube import ours


@pytest.fixture
def stack(runs):
    return runs.stack


def test_a_dag_file_is_parsed_without_what_trains_plans_or_speaks_to_kubernetes(runs):
    assert runs.dags["problems"] == {}
    assert runs.dags["heavy"] == []


def test_a_training_is_waited_for_in_the_triggerer_and_hands_on_what_it_cost(runs, stack):
    tasks = runs.dags["trains"]
    assert {name: task["state"] for name, task in tasks.items()} == {"train": "success", "hand_on": "success"}
    told, job = tasks["train"]["xcom"], stack.job("trains")
    assert (told["job"], told["uid"], told["phase"]) == (job.key, job.metadata.uid, "Succeeded")
    assert told["adapter"] == job.status.last_good_checkpoint.uri
    assert told["validation_loss"] == job.status.progress.validation_loss
    assert told["grams_co2e"] == pytest.approx(job.status.actual.grams_co2e)
    assert told["decision"]["cluster"] == job.status.cluster
    assert told["decision"]["digest"] == job.status.decision_digest
    assert tasks["hand_on"]["xcom"].startswith(f"{told['adapter']} for ")
    stack.assert_run_once("trains")


def test_a_job_that_is_done_is_deleted_where_the_task_says_so_and_waiting_on_a_worker_works_too(runs, stack):
    told = runs.dags["waits-on-a-worker"]["train"]
    assert (told["state"], told["xcom"]["phase"]) == ("success", "Succeeded")
    stack.wait_gone("waits-on-a-worker")


def test_a_retry_has_the_same_job_run_again(runs, stack):
    told = runs.dags["fails-once"]["train"]
    assert (told["state"], told["tries"]) == ("success", 2)
    assert (told["xcom"]["uid"], told["xcom"]["decision"]["attempt"]) == (stack.job("fails-once").metadata.uid, 2)
    assert [attempt for name, attempt, _ in stack.spokes.starts if name == "fails-once"] == [1, 2]


def test_a_failure_says_the_job_s_own_reason(runs, stack):
    assert runs.dags["fails"]["train"]["state"] == "failed"
    assert stack.job("fails").status.summary in runs.output
    assert "CUDA out of memory: lower the batch size" in runs.output


def test_what_no_retry_mends_fails_at_once_with_a_sentence(runs):
    told = runs.dags["is-wrong"]["train"]
    assert (told["state"], told["tries"]) == ("failed", 1)
    assert "spec.reviw: no such field (did you mean review?)" in runs.output


def test_a_kill_while_it_waits_deletes_the_job_and_the_stored_trigger_has_no_secret(runs, stack):
    told = runs.dags["holds"]
    assert told["state"] == "deferred"
    assert told["stored"] == {
        "kubernetes_conn_id": "kubernetes_default",
        "name": "holds",
        "namespace": stack.namespace,
        "on_kill_action": "delete_job",
        "poll_interval": 0.2,
        "task": told["stored"]["task"],
        "try_number": 1,
        "until_gone": False,
    }
    stack.wait_gone("holds")


@pytest.mark.parametrize("dag", ["is-too-slow", "is-too-slow-on-a-worker"])
def test_a_task_whose_time_is_over_deletes_its_job(runs, stack, dag):
    told = runs.dags[dag]
    assert (told["state"] if dag == "is-too-slow" else told["train"]["state"]) == "failed"
    stack.wait_gone(dag)


def test_the_time_of_a_task_counts_while_it_is_deferred_and_its_error_names_the_job(runs, stack):
    assert f"job {stack.namespace}/is-too-slow had not ended within 0:00:01" in runs.dags["is-too-slow"]["error"]


@pytest.mark.parametrize("dag", ["window", "window-on-a-worker"])
def test_a_sensor_waits_for_hours_that_are_as_clean_as_now_or_cleaner(runs, dag):
    """Which they are is tested of `carbonfleet when`; here half an hour is a second of a machine that may be busy."""
    told = runs.dags[dag]["wait"]
    found = told["xcom"]
    assert (told["state"], found["zone"], found["source"]) == ("success", "XX", "trace")
    assert found["start"] <= found["latest_start"]
    assert found["grams_per_kwh"] <= found["at_once_grams_per_kwh"]
    saving = 100 * (1 - found["grams_per_kwh"] / found["at_once_grams_per_kwh"])
    assert found["saving_percent"] == pytest.approx(saving)


def test_where_nothing_is_known_of_a_zone_a_sensor_fails_or_starts_as_it_says(runs):
    told = runs.dags["nowhere"]
    assert (told["fails"]["state"], told["starts"]["state"]) == ("failed", "success")
    assert told["starts"]["xcom"]["source"] is None
    assert "nothing is known of NOWHERE" in runs.output


def test_the_page_s_example_runs_as_it_stands(runs, stack):
    tasks = runs.dags["nightly_training"]
    assert {task["state"] for task in tasks.values()} == {"success"}
    name = tasks["train"]["xcom"]["job"].rpartition("/")[2]
    assert stack.phase(name) is Phase.SUCCEEDED
    assert len(stack.kube.list(ours("carbontrainingjobs", stack.namespace))[0]) == 4
