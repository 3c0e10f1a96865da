"""A model is loaded whole as it was stored, or refused by name."""

import json
import re
import shutil

import lora_runs as runs
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
)
from workloads.lora.failure import Failure
from workloads.lora.model import adapted_modules, load_base, with_adapter
from workloads.lora.model.tiny import tiny_model, tiny_tokenizer
from workloads.lora.settings import parse


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


def test_a_revision_of_a_folder_is_refused(whole):
    with pytest.raises(Failure, match=r"^BadConfig: model_revision: '.*' is a folder of this host"):
        load_base(str(whole), 0, torch.device("cpu"), "v1")


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


def lora(**asked):
    return parse(json.dumps({"model": "m", "dataset": {"name": "d"}, "lora": {"rank": 2, **asked}}))


def adapted(*modules):
    """The paths that an adapter was put on."""
    model = with_adapter(tiny_model(0), lora(target_modules=modules), torch.device("cpu"))
    return {
        name.removesuffix(".lora_A") for name, _ in model.base_model.model.named_modules() if name.endswith("lora_A")
    }


@pytest.mark.parametrize("modules", [["q_proj"], ["self_attn.q_proj", "layers.2.mlp.up_proj"], ["down_proj", "v_proj"]])
def test_every_module_that_a_name_ends_gets_an_adapter(modules):
    paths = [path for path, _ in tiny_model(0).named_modules()]
    assert adapted(*modules) == {path for path in paths if any(path.endswith(f".{each}") for each in modules)}


@pytest.mark.parametrize("unknown", ["v_porj", "proj", "roj", "layers.9.self_attn.q_proj", "."])
def test_any_target_module_that_the_model_lacks_is_refused_by_name(unknown):
    with pytest.raises(Failure) as found:
        adapted("q_proj", unknown)
    assert str(found.value) == (
        f"BadConfig: lora.target_modules: the model has no {unknown}; "
        "it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


SMALL = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PROJECTIONS = ("k_proj", "o_proj", "q_proj", "v_proj")


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        (Phi3Config(**SMALL, **TOKENS), ("down_proj", "gate_up_proj", "o_proj", "qkv_proj")),
        (GPTNeoXConfig(**SMALL), ("dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value")),
        (
            MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=2),
            ("experts.down_proj", "experts.gate_up_proj", "gate.weight", *PROJECTIONS),
        ),
        (
            OPTConfig(**{**SMALL, "ffn_dim": 32}, word_embed_proj_dim=8),  # with linear layers outside its blocks
            ("fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"),
        ),
        (GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=64, **TOKENS), ("c_attn", "c_fc", "c_proj")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_by_default_every_linear_layer_of_the_blocks_gets_an_adapter(config, modules):
    base = AutoModelForCausalLM.from_config(config)
    model = with_adapter(base, lora(dropout=0), torch.device("cpu"))
    expected = dict.fromkeys(modules, 2)
    if "c_proj" in expected:
        expected["c_proj"] = 4  # of attention and of the perceptron
    told = adapted_modules(model)
    assert told["modules"] == expected
    trained = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    assert told["parameters"] == sum(count for _, count in trained)
    assert all(re.search(r"\.[01]\.", name) for name, _ in trained)


def test_experts_that_cannot_have_dropout_are_refused_with_what_to_do():
    base = AutoModelForCausalLM.from_config(MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=2))
    with pytest.raises(
        Failure, match=r"BadConfig: lora.dropout: 0.1, and the model holds the experts .* Set it to 0, or name"
    ):
        with_adapter(base, lora(dropout=0.1), torch.device("cpu"))


def gpt2(folder, vocabulary=512, positions=64):
    """A small GPT-2 with the tokenizer of 512 tokens."""
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=vocabulary, n_positions=positions, **TOKENS)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return {**runs.tiny(steps=2), "model": str(folder)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"positions": 32}, "training.sequence_length 64 is more than the 32 positions of the model: lower it to 32"),
        ({"vocabulary": 300}, "and the vocabulary of the model ends at 299"),
    ],
)
def test_tokens_that_the_model_cannot_take_are_refused_before_the_first_step(asked, words, tmp_path):
    run = runs.train(gpt2(tmp_path / "model", **asked), tmp_path / "job")
    assert (run.process.exitcode, run.failure["reason"]) == (2, "BadConfig")
    assert words in run.failure["message"]
    assert run.progress == []


def test_a_model_trains_at_its_last_position(tmp_path):
    assert runs.train(gpt2(tmp_path / "model"), tmp_path / "job").process.exitcode == 0


def test_an_adapter_on_experts_is_stored_whole(tmp_path):
    """Evaluated in another process, from what was stored, it has the loss that it had."""
    config = MixtralConfig(**{**SMALL, "vocab_size": 512}, num_key_value_heads=2, num_local_experts=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    settings = {**runs.tiny(6, lora={"dropout": 0}), "model": str(tmp_path / "model")}
    run = runs.train(settings, tmp_path / "job")
    assert run.process.exitcode == 0, run.text
    assert runs.metrics(tmp_path / "job")["adapter"]["modules"]["experts.gate_up_proj"] == 2
    assert runs.evaluate(tmp_path / "job") == 0
