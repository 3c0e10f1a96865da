"""What is fetched is pinned: images by digest, workflow actions by commit, our own images by this release's tag."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from carbonfleet.api.workload import Workload
from carbonfleet.fleet.serving import VLLM_IMAGE
from carbonfleet.shipped import OPERATOR_IMAGE, REGISTRY, TAG

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OWN = re.compile(rf"{re.escape(REGISTRY)}/(operator|lora):{re.escape(VERSION)}")
DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")
NAMED = re.compile(r"^(?:FROM|[ -]*image:(?:\s+name:)?)[ ]+['\"]?([^'\"\s$]+)", re.MULTILINE)
FILES = [
    file
    for folder in (".github", "operator", "workloads", "fleet", "kustomize", "crds")
    for file in (ROOT / folder).rglob("*")
    if file.suffix in {".yaml", ".yml"} or file.name == "Dockerfile"
]
IMAGES = [
    pytest.param(image, id=f"{file.relative_to(ROOT)}: {image}")
    for file in FILES
    for image in NAMED.findall(file.read_text())
]


@pytest.mark.parametrize("image", [*IMAGES, pytest.param(VLLM_IMAGE, id="VLLM_IMAGE")])
def test_an_image_is_ours_of_this_release_or_has_a_digest(image):
    assert OWN.fullmatch(image) or DIGEST.fullmatch(image)


def test_the_image_of_a_job_that_names_none_is_of_this_release():
    assert OWN.fullmatch(Workload.model_fields["image"].default)


@pytest.mark.parametrize(
    "workflow", [f for f in FILES if "workflows" in f.parts], ids=lambda f: str(f.relative_to(ROOT))
)
def test_an_action_is_named_by_its_commit(workflow):
    for action in re.findall(r"uses:\s*(\S+)", workflow.read_text()):
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action)


def test_the_registry_path_and_the_tag_are_set_in_one_place_and_everything_agrees():
    release = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    assert release["env"]["REGISTRY"] == REGISTRY
    assert TAG == VERSION
    overlays = [yaml.safe_load(f.read_text()) for f in (ROOT / "kustomize/overlays").rglob("kustomization.yaml")]
    pinned = [overlay["images"] for overlay in overlays if "images" in overlay]
    assert pinned == [[{"name": OPERATOR_IMAGE.rpartition(":")[0], "newTag": TAG}]] * 2


def test_nothing_is_of_the_tag_latest():
    assert [str(file) for file in FILES if re.search(r"\S:latest\b", file.read_text())] == []


def test_files_with_images_were_found():
    assert {"operator/Dockerfile", "kustomize/base/hub/deployment.yaml", "fleet/.github/workflows/policy.yaml"} <= {
        str(file.relative_to(ROOT)) for file in FILES
    }
    assert len(IMAGES) >= 5
