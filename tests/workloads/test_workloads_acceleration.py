"""What a worker can't do is refused by name."""

import json
from importlib.util import find_spec

import lora_runs as runs
import pytest
from workloads.lora.failure import Failure
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer
from workloads.lora.settings import parse


def test_compiling_is_refused_without_a_gpu(tmp_path):
    run = runs.train(runs.tiny(training={"compile": True}), tmp_path, CUDA_VISIBLE_DEVICES="")
    assert (run.process.exitcode, run.progress) == (2, [])
    assert run.failure["message"] == ("training.compile: it needs a CUDA GPU, and this worker has none. Leave it out")


def test_a_base_of_4_bits_is_trained_and_evaluated_where_bitsandbytes_is_and_refused_elsewhere(tmp_path):
    tiny_model(0).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    settings = runs.tiny(training={"quantization": "nf4"}) | {"model": str(tmp_path / "model")}
    run = runs.train(settings, tmp_path / "job")
    if find_spec("bitsandbytes") is not None:
        assert run.process.exitcode == 0, run.text
        assert runs.evaluate(tmp_path / "job") == 0
        return
    assert (run.process.exitcode, run.progress) == (2, [])
    assert run.failure["message"] == (
        "training.quantization: it needs bitsandbytes, which is not installed. "
        "Add it to the training image, or leave the setting out"
    )


def test_a_model_made_on_the_spot_has_no_weights_to_quantize():
    with pytest.raises(Failure, match=r"training\.quantization is of a model that is stored"):
        parse(json.dumps(runs.tiny(training={"quantization": "nf4"})))
