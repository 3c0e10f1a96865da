"""What serves adapters: valid for Kubernetes, safe whatever is in it, and written only where policy allows."""

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from kubernetes.client import models as kubernetes_models
from pydantic import ValidationError

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.fleet.check import read_checkout, read_files
from carbonfleet.fleet.serving import (
    Adapter,
    Serving,
    ServingRefused,
    check_allowed,
    publish_serving,
    read_serving,
    render_serving,
)
from fixtures.fleet_values import SEED

PAT = ("Pat Person", "pat@example.org")
SERVING = Serving(
    name="ranks",
    namespace="ml",
    cluster="no-osl-1",
    pool="a100",
    model="Qwen/Qwen2.5-Coder-7B-Instruct",
    adapters=(
        Adapter("ranks-r16", "/checkpoints/3c1f1a52-6f4e-4a38-9d9f-2f6b6f0d8a11", 16),
        Adapter("ranks-r40", "s3://bucket/lora/9d9f1a52-6f4e-4a38-9d9f-2f6b6f0d8a11", 40),
    ),
    residency=ResidencyRequest(data_class="public"),
    fetch_image="carbonfleet/lora@sha256:" + "a" * 64,
    image="vllm/vllm-openai@sha256:" + "b" * 64,
)


def documents(serving: Serving = SERVING) -> dict[str, dict[str, Any]]:
    """The objects of the file by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(render_serving(serving))}


def pod(serving: Serving = SERVING) -> dict[str, Any]:
    return documents(serving)["Deployment"]["spec"]["template"]["spec"]


def check_by_kubernetes(found: dict[str, Any]) -> None:
    """Read an object with Kubernetes' own model, made from its OpenAPI, which refuses what it doesn't know."""
    getattr(kubernetes_models, f"V1{found['kind']}").model_validate(found)


@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment", "Service"])
def test_every_object_satisfies_the_kubernetes_api(kind):
    check_by_kubernetes(documents()[kind])


def test_the_file_says_how_many_gpus_of_which_pool_it_takes_whatever_a_person_changed():
    text = render_serving(replace(SERVING, gpus=2)).decode()
    served = read_serving(SERVING.path, text.encode())
    assert (served.cluster, served.namespace, served.data_class) == ("no-osl-1", "ml", "public")
    assert (served.pool, served.gpus) == ("a100", 2)
    more = text.replace("replicas: 1", "replicas: 3")
    assert read_serving(SERVING.path, more.encode()).gpus == 6
    none = text.replace("nodeSelector:", "notASelector:")
    assert read_serving(SERVING.path, none.encode()).pool == ""


def test_that_check_finds_what_is_wrong():
    misspelt, untyped, incomplete = (documents()["Deployment"] for _ in range(3))
    misspelt["spec"]["template"]["spec"]["replicaz"] = 1
    untyped["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "8000"
    del incomplete["spec"]["selector"]
    for broken in (misspelt, untyped, incomplete):
        with pytest.raises(ValidationError):
            check_by_kubernetes(broken)


def test_vllm_is_told_of_every_adapter_by_its_jobs_name():
    config = yaml.safe_load(documents()["ConfigMap"]["data"]["vllm.yaml"])
    assert [json.loads(module) for module in config["lora-modules"]] == [
        {"name": "ranks-r16", "path": "/adapters/ranks-r16"},
        {"name": "ranks-r40", "path": "/adapters/ranks-r40"},
    ]
    assert (config["model"], config["enable-lora"]) == ("Qwen/Qwen2.5-Coder-7B-Instruct", True)
    assert (config["max-loras"], config["max-lora-rank"]) == (2, 64)


def test_vllm_loads_the_revision_that_the_adapters_were_trained_on():
    def told(serving):
        config = yaml.safe_load(documents(serving)["ConfigMap"]["data"]["vllm.yaml"])
        return {name: value for name, value in config.items() if "revision" in name}

    assert told(SERVING) == {}
    assert told(replace(SERVING, revision="9c3a")) == {"revision": "9c3a", "tokenizer-revision": "9c3a"}


def test_the_adapters_come_from_where_they_were_saved():
    data = documents()["ConfigMap"]["data"]
    assert json.loads(data["adapters.json"]) == {one.name: one.place for one in SERVING.adapters}
    [fetch] = pod()["initContainers"]
    assert (fetch["image"], fetch["command"]) == (
        SERVING.fetch_image,
        ["python", "-m", "workloads.lora.fetch", "/adapters"],
    )


def test_its_pods_satisfy_the_restricted_pod_security_standard():
    found = pod()
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is False
    for container in (*found["initContainers"], *found["containers"]):
        context = container["securityContext"]
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    kinds = {next(key for key in volume if key != "name") for volume in found["volumes"]}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim"}


def test_there_is_no_secret_in_it():
    entries = {entry["name"]: entry for entry in pod()["containers"][0]["env"]}
    assert entries["VLLM_API_KEY"] == {
        "name": "VLLM_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "carbonfleet-serving", "key": "api-key", "optional": True}},
    }


def test_other_adapters_make_other_pods():
    fewer = replace(SERVING, adapters=SERVING.adapters[:1])
    digests = [
        documents(one)["Deployment"]["spec"]["template"]["metadata"]["annotations"] for one in (SERVING, fewer, SERVING)
    ]
    assert digests[0] == digests[2] != digests[1]
    assert render_serving(SERVING) == render_serving(SERVING)


@pytest.mark.parametrize("text", ["'; rm -rf / #", '"$(reboot)"', "a: b\n---\nkind: Secret", "&a *a", "x" * 200_000])
def test_hostile_text_stays_in_its_field(text):
    serving = replace(
        SERVING,
        model=text,
        image=text,
        fetch_image=text,
        pool=text,
        adapters=(Adapter("a", f"s3://{text}", 8),),
        residency=ResidencyRequest.model_construct(data_class=text),
    )
    found = documents(serving)
    assert set(found) == {"ConfigMap", "Deployment", "Service"}
    spec = found["Deployment"]["spec"]["template"]["spec"]
    assert (spec["containers"][0]["image"], spec["initContainers"][0]["image"]) == (text, text)
    assert spec["nodeSelector"] == {"carbonfleet.dev/pool": text}
    assert spec["containers"][0]["command"] == ["vllm", "serve", "--config", "/etc/vllm/vllm.yaml"]
    assert yaml.safe_load(found["ConfigMap"]["data"]["vllm.yaml"])["model"] == text
    assert json.loads(found["ConfigMap"]["data"]["adapters.json"]) == {"a": f"s3://{text}"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../evil"}, "not a lower-case DNS label"),
        ({"namespace": "A"}, "not a lower-case DNS label"),
        ({"name": "n" * 60}, "longer than 57"),
        ({"adapters": ()}, "0 adapters"),
        ({"adapters": (Adapter("a", "/home/me/store/uid", 8),)}, "workloads.lora.serve a=/home/me/store/uid"),
        ({"adapters": (Adapter("a", "s3://bucket/a", 1024),)}, "vLLM serves up to 512"),
    ],
)
def test_what_cant_be_served_says_why(changes, says):
    with pytest.raises(ServingRefused, match=says):
        render_serving(replace(SERVING, **changes))


def test_it_is_written_to_git_once_in_the_persons_name(repository, person):
    written = publish_serving(repository, SERVING, PAT)
    assert written.path == "serving/no-osl-1/ml/ranks.yaml"
    again = publish_serving(repository, SERVING, PAT)
    assert again.commit == ""
    assert (person.pull() / written.path).read_bytes() == render_serving(SERVING)
    assert person.run("log", "-1", "--format=%an|%s") == "Pat Person|serve: ml/ranks on no-osl-1"
    assert repository.fetch().problems == {}


def test_better_adapters_replace_it_but_a_persons_edit_stays(repository, person):
    path = publish_serving(repository, SERVING, PAT).path
    fewer = replace(SERVING, adapters=SERVING.adapters[:1])
    assert publish_serving(repository, fewer, PAT).commit
    person.edit(path, "replicas: 1", "replicas: 2")
    person.push("Serve twice")
    with pytest.raises(ServingRefused, match="changed by a person"):
        publish_serving(repository, SERVING, PAT)
    assert publish_serving(repository, SERVING, PAT, replace=True).commit


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cluster": "us-oh-1", "residency": ResidencyRequest(data_class="personal")}, "must not serve data class"),
        ({"residency": ResidencyRequest(data_class="nobody-knows")}, "must not serve data class"),
        ({"cluster": "nowhere"}, "clusters/nowhere/cluster.yaml is not on the branch"),
        ({"pool": "h100"}, "no pool h100; there is a100"),
        ({"gpus": 16}, "has 8 GPUs, not 16"),
    ],
)
def test_policy_and_cluster_are_asked_on_the_tip(repository, changes, says):
    with pytest.raises(ServingRefused, match=says):
        publish_serving(repository, replace(SERVING, **changes), PAT)


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("serving/README.md", True),
        ("Serving/no-osl-1/ml/other.yaml", True),
        ("serving/no-osl-1/other.yaml", True),
        ("serving/no-osl-1/ml/other.yml", True),
        ("serving/no-osl-1/ml/other.yaml", True),
        ("serving/us-oh-1/ml/other.yaml", False),
        ("moves/README.md", False),
        ("clusters/no-osl-1/jobs/README.md", False),
    ],
)
def test_nothing_more_is_served_beside_what_nobody_can_read_until_it_is_taken_away(repository, person, path, held):
    file = person.pull() / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("kind: Deployment\n")
    person.push("Leave something")
    assert [problem.path for problem in read_checkout(read_files(person.path)).problems] == [path]
    if held:
        with pytest.raises(ServingRefused, match=f"until this file is mended or taken away: {path}:1: "):
            publish_serving(repository, SERVING, PAT)
    file.unlink()
    person.push("Take it away")
    assert publish_serving(repository, SERVING, PAT).commit


def test_a_policy_that_changed_meanwhile_counts(repository, person):
    check_allowed(SERVING, repository.fetch())
    person.edit("policies/default.yaml", "anywhere: true", "jurisdictions: [US]")
    person.push("Keep public data in the US")
    with pytest.raises(ServingRefused, match="must not serve"):
        publish_serving(repository, SERVING, PAT)


def judged(**files: bytes) -> list[str]:
    """What `policy check` says of the seed with other files in it."""
    seed = read_files(SEED)
    return [str(problem) for problem in read_checkout(seed | files).problems]


def test_policy_check_judges_what_is_served_too():
    path = SERVING.path
    assert judged(**{path: render_serving(SERVING)}) == []
    personal = replace(SERVING, residency=ResidencyRequest(data_class="personal"), cluster="us-oh-1")
    [problem] = judged(**{personal.path: render_serving(personal)})
    assert "what learned from data class personal may not be here" in problem
    nowhere = replace(SERVING, cluster="nowhere")
    [problem] = judged(**{nowhere.path: render_serving(nowhere)})
    assert "clusters/nowhere/cluster.yaml can't be used" in problem


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("serving/ranks.yaml", b"", "not readable"),
        ("serving/no-osl-1/ml/A.yaml", b"", "not readable"),
        (SERVING.path, b"kind: Secret\nmetadata: {namespace: ml}\n", "must hold one ConfigMap, Deployment and Service"),
        (SERVING.path, render_serving(SERVING).replace(b'namespace: "ml"', b'namespace: "other"'), "in namespace ml"),
        (SERVING.path, b"- 1\n", "not readable"),
    ],
)
def test_policy_check_finds_what_is_not_served_but_lies_there(path, content, says):
    [problem] = judged(**{path: content})
    assert says in problem
