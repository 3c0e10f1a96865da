"""What a worker can't do is refused by name."""

import json
from importlib.util import find_spec

import lora_runs as runs
import pytest
import torch
from workloads.lora.failure import Failure
from workloads.lora.model import compile_blocks, expect_possible, with_adapter
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer
from workloads.lora.settings import Training, parse


@pytest.mark.parametrize(("field", "value"), [("compile", True), ("quantization", "nf4")])
def test_what_needs_a_gpu_is_refused_without_one(tmp_path, field, value):
    tiny_model(0).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    settings = runs.tiny(training={field: value}) | {"model": str(tmp_path / "model")}
    run = runs.train(settings, tmp_path / "job", CUDA_VISIBLE_DEVICES="")
    assert (run.process.exitcode, run.failure["reason"], run.progress) == (2, "BadConfig", [])
    assert run.failure["message"] == (f"training.{field}: it needs a CUDA GPU, and this worker has none. Leave it out")


@pytest.mark.parametrize(
    ("field", "value", "package"), [("compile", True, "triton"), ("quantization", "nf4", "bitsandbytes")]
)
def test_what_needs_a_package_is_refused_where_it_is_not_installed(field, value, package):
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(Failure, match=rf"training\.{field}: it needs {package}, which is not installed\. Add it to"):
        expect_possible(Training(**{field: value}), torch.device("cuda"))


def test_compiled_blocks_keep_their_parameters_names():
    job = parse(json.dumps(runs.tiny()))
    plain, compiled = (with_adapter(tiny_model(0), job, torch.device("cpu")) for _ in range(2))
    compile_blocks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert sum(module._compiled_call_impl is not None for module in compiled.modules()) == 4


def test_a_model_made_on_the_spot_has_no_weights_to_quantize():
    with pytest.raises(Failure, match=r"training\.quantization is of a model that is stored"):
        parse(json.dumps(runs.tiny(training={"quantization": "nf4"})))
