"""A task's job on a real API: made once however often a task tries, run again where it failed, deleted by its try."""

import re
from threading import Barrier, Thread

import pytest

from carbonfleet.api.wire import ANNOTATION
from carbonfleet.integrations.task_jobs import (
    TASK,
    TRY,
    ManifestError,
    NotOurs,
    RemoteJob,
    TaskJob,
    TaskJobState,
    job_body,
    result,
)
from carbonfleet.kube import Kube, KubeError, ours, path
from fixtures.hub_process import ensure, install_crds
from fixtures.hub_process import job_body as any_job
from fixtures.kubeapi_server import KubeApi

NAMESPACE = "airflow-jobs"
SPEC = any_job("any", NAMESPACE)["spec"]


@pytest.fixture(scope="module")
def kube(shared_kube_api: KubeApi) -> Kube:
    install_crds(shared_kube_api)
    kube = Kube.connect(shared_kube_api.kubeconfig)
    ensure(kube, path("api/v1", "namespaces"), {"kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return kube


class Task:
    """A task instance that can be tried again and again."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.kube = kube
        self.key = f"nightly/manual__1/{name}"
        self.name = job_body({"spec": SPEC}, self.key, 1, name=name)["metadata"]["name"]

    def job(self, try_number: int) -> TaskJob:
        return TaskJob(self.kube, NAMESPACE, self.name, self.key, try_number)

    def submit(self, try_number: int, **changed) -> RemoteJob:
        written = {"spec": SPEC | changed}
        return self.job(try_number).submit(
            job_body(written, self.key, try_number, namespace=NAMESPACE, name=self.name[:-11])
        )

    def becomes(self, phase: str, **status) -> None:
        """The status as the hub writes it."""
        where = ours("carbontrainingjobs", NAMESPACE, self.name)
        body = self.kube.get(where)
        asked = body["metadata"].get("annotations", {}).get(ANNOTATION.REPLACE, "")
        seen = {"observedGeneration": body["metadata"]["generation"], "replaced": asked}
        self.kube.patch(f"{where}/status", {"status": {"phase": phase, **seen, **status}})

    def hold(self) -> None:
        """A finalizer, as of the hub while the job's run is being stopped."""
        where = ours("carbontrainingjobs", NAMESPACE, self.name)
        self.kube.patch(where, {"metadata": {"finalizers": ["carbonfleet.dev/placement"]}})

    def let_go(self) -> None:
        where = ours("carbontrainingjobs", NAMESPACE, self.name)
        self.kube.patch(where, {"metadata": {"finalizers": None}})


@pytest.fixture
def task(kube: Kube, request: pytest.FixtureRequest) -> Task:
    return Task(kube, request.node.name)


def test_a_retry_waits_for_the_job_that_the_first_try_made(task):
    first, again = task.submit(1), task.submit(2)
    assert (again.metadata["uid"], again.state) == (first.metadata["uid"], TaskJobState.GOES_ON)
    assert again.metadata["generation"] == first.metadata["generation"]
    assert (again.annotations[TASK], again.annotations[TRY]) == (task.key, "2")


def test_an_edit_of_the_dag_does_not_change_a_job_that_goes_on(task):
    task.submit(1)
    assert task.submit(2, schedule={"maxDelay": "1h"}).body["spec"]["schedule"]["maxDelay"] == "0s"


def test_two_workers_at_once_make_one_job(task):
    start, made = Barrier(2), []

    def worker() -> None:
        start.wait()
        made.append(task.submit(1).metadata["uid"])

    threads = [Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 2
    assert len(set(made)) == 1


def test_a_retry_takes_the_result_of_a_job_that_is_done(task):
    task.submit(1)
    task.becomes("Succeeded", summary="Trained.", lastGoodCheckpoint={"uri": "s3://adapters/a", "step": 20})
    done = task.submit(2)
    told = result(done)
    assert done.state is TaskJobState.DONE
    assert (told["job"], told["uid"]) == (f"{NAMESPACE}/{task.name}", done.metadata["uid"])
    assert (told["phase"], told["summary"], told["adapter"]) == ("Succeeded", "Trained.", "s3://adapters/a")
    assert told["grams_co2e"] is None


@pytest.mark.parametrize("phase", ["Failed", "Cancelled", "Rejected"])
def test_a_job_that_has_failed_is_asked_to_run_again_by_the_spec_of_now_once_for_each_retry(task, phase):
    first = task.submit(1)
    task.becomes(phase, summary="CUDA out of memory")
    assert task.submit(1).state is (TaskJobState.REJECTED if phase == "Rejected" else TaskJobState.FAILED)
    again = task.submit(2, baselineRegion="us-east-2")
    assert (again.metadata["uid"], again.state) == (first.metadata["uid"], TaskJobState.GOES_ON)
    assert (again.annotations[ANNOTATION.REPLACE], again.body["spec"]["baselineRegion"]) == (
        "task-try-2",
        "us-east-2",
    )
    task.becomes("Running")
    assert task.submit(2).metadata["resourceVersion"] == task.job(2).look().metadata["resourceVersion"]
    task.becomes("Succeeded")
    assert task.job(2).look().state is TaskJobState.DONE


def test_a_failure_says_the_job_s_own_reason(task):
    task.submit(1)
    ready = {"type": "Ready", "status": "False", "reason": "OutOfMemory", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    task.becomes("Failed", summary="Failed on no-osl-1: lower the batch size.", conditions=[ready])
    assert task.job(1).look().told == "Failed (OutOfMemory): Failed on no-osl-1: lower the batch size."


def test_another_s_job_of_that_name_is_left_alone(task):
    other = any_job(task.name, NAMESPACE)
    task.kube.create(ours("carbontrainingjobs", NAMESPACE), other)
    with pytest.raises(NotOurs, match="that is not of the task nightly/manual__1/"):
        task.submit(1)
    assert task.job(1).withdraw() is False
    assert task.job(1).look().state is TaskJobState.GONE
    assert task.kube.get(ours("carbontrainingjobs", NAMESPACE, task.name))


def test_a_kill_of_an_older_try_does_not_take_the_job_from_the_one_that_waits_now(task):
    task.submit(1)
    task.submit(2)
    assert task.job(1).withdraw() is False
    assert task.job(2).look().state is TaskJobState.GOES_ON
    assert task.job(2).withdraw() is True
    assert task.job(2).look().state is TaskJobState.GONE


def test_a_job_that_is_being_deleted_is_waited_for_until_it_is_gone(task):
    first = task.submit(1)
    task.hold()
    assert task.job(1).withdraw() is True
    assert task.submit(2).state is TaskJobState.LEAVING
    task.let_go()
    made = task.submit(2)
    assert made.state is TaskJobState.GOES_ON
    assert made.metadata["uid"] != first.metadata["uid"]


def test_what_the_api_refuses_is_its_own_sentence(task):
    task.submit(1)
    task.becomes("Failed")
    with pytest.raises(KubeError, match="residency can't be changed"):
        task.submit(2, residency={"dataClass": "eu-personal"})


TASK_KEY = "Team A.nightly/scheduled__2026-01-01T00:00:00+00:00/train[3]"


def test_a_manifest_may_be_yaml_or_a_mapping_and_its_name_ends_with_the_task_instance():
    text = "metadata: {name: llama, namespace: team-a, labels: {a: b}}\nspec:\n"
    text += (
        "  workload: {model: m, dataset: {name: d}}\n  resources: {duration: 1h}\n  residency: {dataClass: public}\n"
    )
    body = job_body(text, TASK_KEY, 1)
    name = body["metadata"].pop("name")
    assert re.fullmatch("llama-[0-9a-f]{10}", name)
    assert body["metadata"] == {
        "namespace": "team-a",
        "labels": {"a": "b"},
        "annotations": {TASK: TASK_KEY, TRY: "1"},
    }
    assert job_body(text, TASK_KEY, 1, has_suffix=False)["metadata"]["name"] == "llama"
    named = job_body({"spec": body["spec"]}, TASK_KEY, 2, namespace="elsewhere", name="Team A.nightly-train")[
        "metadata"
    ]
    assert (named["name"], named["namespace"]) == (f"team-a-nightly-train-{name[-10:]}", "elsewhere")
    assert len(job_body({"spec": body["spec"]}, TASK_KEY, 1, name="x" * 200)["metadata"]["name"]) == 63


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("a: [", "job:2: not YAML"),
        ("just text", "must be a CarbonTrainingJob"),
        ({"spec": SPEC | {"reviw": "auto"}}, "spec.reviw: no such field (did you mean review?)"),
        ({"spec": SPEC, "kind": "Job"}, "kind"),
        ({"spec": SPEC, "metadata": "name"}, "metadata must hold fields"),
        ({"spec": SPEC | {"resources": {"duration": object()}}}, "spec.resources.duration: object is nothing"),
        ({}, "spec"),
    ],
)
def test_a_manifest_that_no_job_can_be_made_of_is_a_sentence(written, says):
    with pytest.raises(ManifestError) as error:
        job_body(written, TASK_KEY, 1)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_without_suffix_a_name_is_needed():
    with pytest.raises(ManifestError, match="name is needed where it gets no suffix"):
        job_body({"spec": SPEC}, TASK_KEY, 1, has_suffix=False)
