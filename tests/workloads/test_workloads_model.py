"""A model is loaded whole as it was stored, or refused by name."""

import json
import re
import shutil

import lora_runs as runs
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GemmaConfig, GPT2Config, GPTNeoXConfig, Qwen2Config
from workloads.lora.failure import Failure
from workloads.lora.model import load_base, with_adapter
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer
from workloads.lora.settings import ALL_PROJECTIONS, parse


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model's folder; its embeddings are tied and stored once."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_model(0).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def load(folder):
    return load_base(str(folder), 0, torch.device("cpu"))[0]


def copy(whole, tmp_path, weights=None, **config):
    """The folder again, with other weights or settings."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    if weights is not None:
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    described = json.loads((whole / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, **config}))
    return tmp_path


def refused(folder, *words):
    with pytest.raises(Failure) as found:
        load(folder)
    assert found.value.reason == "UnknownModel"
    for word in (repr(str(folder)), *words):
        assert word in found.value.message


def test_a_whole_model_is_loaded_as_it_was_stored(whole):
    stored, loaded = load_file(whole / "model.safetensors"), load(whole).state_dict()
    assert "lm_head.weight" not in stored
    assert set(loaded) == {*stored, "lm_head.weight"}
    assert all(torch.equal(loaded[name], value) for name, value in stored.items())


def one_of_each(weights):
    """The names outside the layers, and those of one layer."""
    return [name for name in weights if ".layers." not in name or ".layers.2." in name]


def test_any_missing_weight_is_refused_by_name(whole, tmp_path):
    weights = load_file(whole / "model.safetensors")
    for name in one_of_each(weights):
        refused(copy(whole, tmp_path, {n: w for n, w in weights.items() if n != name}), "lacks the weights", name)


def test_any_unexpected_weight_is_refused_by_name(whole, tmp_path):
    weights = load_file(whole / "model.safetensors")
    for name in one_of_each(weights):
        more = {**weights, f"{name}_copy": weights[name].clone()}
        refused(copy(whole, tmp_path, more), "its architecture does not have", f"{name}_copy")


def test_weights_of_another_architecture_are_refused(whole, tmp_path):
    def layers(count):
        return {"num_hidden_layers": count, "layer_types": ["full_attention"] * count}

    refused(copy(whole, tmp_path, **layers(3)), "does not have", "model.layers.3.", "and 9 more")
    refused(copy(whole, tmp_path, **layers(5)), "lacks", "model.layers.4.", "and 9 more")
    refused(copy(whole, tmp_path, intermediate_size=256))


def test_a_head_that_is_neither_stored_nor_tied_is_refused(whole, tmp_path):
    refused(copy(whole, tmp_path, tie_word_embeddings=False), "lacks the weights lm_head.weight")


def test_a_weight_of_another_shape_is_refused_by_name(whole, tmp_path):
    stored = load_file(whole / "model.safetensors")["model.layers.2.mlp.up_proj.weight"]
    other = [stored.shape[0] + 8, stored.shape[1]]
    copy(whole, tmp_path, intermediate_size=other[0])
    refused(tmp_path, f"model.layers.0.mlp.up_proj.weight of shape {list(stored.shape)}, not {other}")


@pytest.mark.parametrize("kind", [GemmaConfig, GPT2Config, GPTNeoXConfig, Qwen2Config])
def test_a_model_stored_without_its_tokenizer_is_refused(kind, tmp_path):
    kind().save_pretrained(tmp_path)
    refused(tmp_path, "lacks the vocabulary of its tokenizer")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    assert runs.train(runs.tiny(steps=2), output).process.exitcode == 0
    return output


@pytest.mark.parametrize("folder", [".", "adapter", "adapter/"])
def test_a_finished_adapter_is_no_model(folder, finished, tmp_path):
    model = f"{finished}/{folder}"
    run = runs.train({**runs.tiny(), "model": model}, tmp_path)
    assert run.process.exitcode == 10, run.text
    assert run.failure["message"] == (
        f"model {model!r} is a finished adapter on 'carbonfleet/tiny-qwen2', and a new one is trained on a base. "
        "Name that base as the model; or merge the adapter into it (PEFT's merge_and_unload, then save_pretrained of "
        "the model and the tokenizer), and name the merged folder"
    )


def test_a_model_with_an_adapter_in_its_folder_is_refused(whole, finished, tmp_path):
    shutil.copytree(finished / "adapter", copy(whole, tmp_path), dirs_exist_ok=True)
    refused(tmp_path, "is a finished adapter")


def test_the_base_of_a_finished_training_is_a_model(finished, tmp_path):
    shutil.copytree(finished / "base", tmp_path, dirs_exist_ok=True)
    tiny_tokenizer().save_pretrained(tmp_path)
    load(tmp_path)


@pytest.mark.parametrize("part", ["adapter/adapter_model", "base/model"])
def test_stored_weights_that_are_not_whole_are_not_evaluated(part, finished, tmp_path):
    output = tmp_path / "output"
    shutil.copytree(finished, output)
    weights = load_file(output / f"{part}.safetensors")
    lost = next(name for name in weights if re.search(r"layers\.2.*q_proj", name))
    del weights[lost]
    save_file(weights, output / f"{part}.safetensors", {"format": "pt"})
    run = runs.call("evaluate", [str(output)])
    assert run.wait() == 10
    assert "lacks the weights" in run.text
    assert "layers.2" in run.text


def adapted(*modules):
    """The paths that an adapter was put on."""
    settings = parse(json.dumps({"model": "m", "dataset": {"name": "d"}, "lora": {"target_modules": modules}}))
    model = with_adapter(tiny_model(0), settings, torch.device("cpu"))
    return {
        name.removesuffix(".lora_A") for name, _ in model.base_model.model.named_modules() if name.endswith("lora_A")
    }


@pytest.mark.parametrize("modules", [["q_proj"], ["self_attn.q_proj", "layers.2.mlp.up_proj"], ALL_PROJECTIONS])
def test_every_module_that_a_name_ends_gets_an_adapter(modules):
    paths = [path for path, _ in tiny_model(0).named_modules()]
    assert adapted(*modules) == {path for path in paths if any(path.endswith(f".{each}") for each in modules)}


@pytest.mark.parametrize("unknown", ["v_porj", "proj", "roj", "layers.9.self_attn.q_proj", "*"])
def test_any_target_module_that_the_model_lacks_is_refused_by_name(unknown):
    with pytest.raises(Failure) as found:
        adapted("q_proj", unknown)
    assert str(found.value) == (
        f"BadConfig: lora.target_modules: the model has no {unknown}; "
        "it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
