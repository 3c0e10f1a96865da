"""A revision of a model or dataset is the one that trains, from a cache as the hub client lays it out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from workloads.lora.settings import parse

from carbonfleet.api.workload import Workload
from carbonfleet.fleet.manifests.workload import config_of

COMMITS = {"main": "a" * 40, "v2": "b" * 40}
NAMED = {"model": "acme/base", "dataset": {"name": "acme/data"}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Two revisions of one model, with weights of their own."""
    from workloads.lora.model.tiny import tiny_model, tiny_tokenizer

    root = tmp_path_factory.mktemp("hub")
    for seed, (ref, commit) in enumerate(COMMITS.items()):
        folder = root / "models--acme--base"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
        tiny_model(seed).save_pretrained(folder / "snapshots" / commit)
        tiny_tokenizer().save_pretrained(folder / "snapshots" / commit)
    return root


LOAD = """
import sys, torch
from workloads.lora.model import load_base
for revision in sys.argv[1:]:
    try:
        model, _ = load_base("acme/base", 0, torch.device("cpu"), revision or None)
        print(sum(float(p.double().abs().sum()) for p in model.parameters()))
    except Exception as error:
        print(str(error).replace("\\n", " "))
"""


def loaded(cache: Path, *revisions: str) -> list[str]:
    """What the weights of each revision add up to, in a process that finds them in the cache alone."""
    environment = os.environ | {
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *revisions],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_revision_that_is_named_is_loaded_and_without_one_the_newest(cache):
    newest, main, named, older, unknown = loaded(cache, "", COMMITS["main"], "v2", COMMITS["v2"], "v3")
    assert newest == main
    assert named == older != newest
    assert "cannot load model" in unknown


def test_a_jobs_revisions_reach_the_training():
    asked = {"model": "acme/base", "modelRevision": "b" * 40, "dataset": {"name": "acme/data", "revision": "v1.2"}}
    settings = parse(config_of(Workload.model_validate(asked), 1))
    assert (settings.model_revision, settings.dataset.revision) == ("b" * 40, "v1.2")


def test_without_revisions_the_settings_are_as_they_were():
    """So that what was begun before there were any goes on from its checkpoint."""
    text = config_of(Workload.model_validate(NAMED), 1)
    assert "revision" not in text
    assert parse(text).digest == parse(json.dumps({**json.loads(text), "model_revision": None})).digest


def test_another_revision_is_another_training():
    digests = {parse(json.dumps(NAMED | {"model_revision": revision})).digest for revision in (None, "v1", "v2")}
    assert len(digests) == 3


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "/models/base", "modelRevision": "v1", "dataset": {"name": "acme/data"}},
        {"model": "acme/base", "dataset": {"name": "/data/train.jsonl", "revision": "v1"}},
        {"model": "acme/base", "dataset": {"name": "s3://data/train", "revision": "v1"}},
        {"model": "acme/base", "dataset": {"name": "train.jsonl.gz", "revision": "v1"}},
        {"model": "acme/base", "modelRevision": "../main", "dataset": {"name": "acme/data"}},
        {"model": "acme/base", "modelRevision": "v1; true", "dataset": {"name": "acme/data"}},
        {"model": "acme/base", "modelRevision": "", "dataset": {"name": "acme/data"}},
    ],
)
def test_what_has_no_revision_is_refused_one(asked):
    with pytest.raises(ValidationError):
        Workload.model_validate(asked)
