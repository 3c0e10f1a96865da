"""However samples are laid into rows, each loses what it loses alone."""

import json
import random

import lora_runs as runs
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BioGptConfig,
    BloomConfig,
    CohereConfig,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    RwkvConfig,
)
from workloads.lora.data import IGNORED, Data, Example, batch, batches
from workloads.lora.data.batches import packed
from workloads.lora.data.examples import Counts
from workloads.lora.failure import Failure
from workloads.lora.model import with_adapter
from workloads.lora.model.tiny import tiny_tokenizer
from workloads.lora.settings import parse
from workloads.lora.training.losses import expect_packing, token_losses

CPU, PAD = torch.device("cpu"), 0
PLAIN = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": PAD,
}
GROUPED = PLAIN | {"num_key_value_heads": 2}
GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 8}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16}
PACKABLE = {
    "llama": LlamaConfig(**PLAIN),
    "qwen2": Qwen2Config(**GROUPED),
    "gpt2, whose positions are learned": GPT2Config(**GPT2, embd_pdrop=0, attn_pdrop=0, resid_pdrop=0),
    "mistral, whose window slides": MistralConfig(**GROUPED, sliding_window=6),
    "gemma2, whose logits are capped": Gemma2Config(**GROUPED, head_dim=8, sliding_window=6, query_pre_attn_scalar=8),
    "cohere, whose logits are scaled": CohereConfig(**GROUPED),
    "phi3, whose projections are one": Phi3Config(**GROUPED),
    "mixtral, of experts": MixtralConfig(**GROUPED, num_local_experts=4),
    "deepseek, of latent attention": DeepseekV3Config(**PLAIN, **LATENT, **ROUTED, num_key_value_heads=4),
}
OPT = {"vocab_size": 96, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
UNPACKABLE = {
    "opt": OPTConfig(**OPT, word_embed_proj_dim=32),
    "falcon": FalconConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "biogpt": BioGptConfig(**PLAIN),
    "gpt-oss": GptOssConfig(**GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
    "bloom": BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4),
    "mamba": MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, state_size=4),
    "rwkv": RwkvConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2),
}


def example(length: int, learned: int, draw: random.Random) -> Example:
    ids = [draw.randrange(4, 96) for _ in range(length)]
    return Example(ids, [IGNORED] * (length - learned) + ids[length - learned :])


DRAW = random.Random(1)
SAMPLES = [example(*shape, DRAW) for shape in [(30, 27), (12, 7), (9, 8), (21, 13), (7, 1), (40, 4), (5, 2)]]
DATA = Data(SAMPLES, SAMPLES[:1], PAD, "", Counts(7, 7, {}, 0, 0, 7, 1, 62, ()))


def model_of(config):
    """The model with an adapter on it; its weights wide enough that attention matters."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_config(config)
    for parameter in base.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    modules = ["in_proj"] if config.model_type == "mamba" else None  # PEFT refuses the others
    lora = {"dropout": 0, "target_modules": modules}
    settings = parse(json.dumps({"model": "m", "dataset": {"path": "d"}, "lora": lora}))
    return with_adapter(base, settings, CPU).eval()


def losses_of(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return token_losses(model, batch)


def alone(model, samples) -> list[torch.Tensor]:
    return [losses_of(model, batch([[sample]], PAD, CPU)) for sample in samples]


@pytest.mark.parametrize("config", [*PACKABLE.values(), *UNPACKABLE.values()], ids=[*PACKABLE, *UNPACKABLE])
def test_the_loss_is_the_models_own_and_padding_does_not_change_it(config):
    model = model_of(config)
    for sample, losses in zip(SAMPLES, alone(model, SAMPLES), strict=True):
        with torch.no_grad():
            own = model(input_ids=torch.tensor([sample.ids]), labels=torch.tensor([sample.labels])).loss
        assert losses.mean() == pytest.approx(float(own), abs=1e-5)
    by_length = sorted(SAMPLES, key=lambda each: -len(each.ids))
    found = torch.cat([losses_of(model, rows) for rows in batches(SAMPLES, 3, PAD, CPU)])
    assert found.tolist() == pytest.approx(torch.cat(alone(model, by_length)).tolist(), abs=1e-5)


@pytest.mark.parametrize("config", PACKABLE.values(), ids=PACKABLE)
def test_each_token_loses_in_a_packed_row_what_it_loses_alone(config):
    model = model_of(config)
    expect_packing(model, DATA, CPU)
    rows = packed(sorted(SAMPLES, key=lambda each: -len(each.ids)))
    assert max(len(row) for row in rows) > 1
    found = losses_of(model, batch(rows, PAD, CPU))
    wanted = torch.cat(alone(model, [sample for row in rows for sample in row]))
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize("config", UNPACKABLE.values(), ids=UNPACKABLE)
def test_a_model_in_which_samples_of_a_row_would_meet_is_refused(config):
    with pytest.raises(Failure, match=r"training.packing: .*\. Set it to false") as refused:
        expect_packing(model_of(config), DATA, CPU)
    assert refused.value.reason == "BadConfig"


def test_rows_hold_every_sample_once_and_are_no_longer_than_the_longest():
    draw = random.Random(2)
    for _ in range(200):
        samples = [Example([number] * draw.randrange(1, 50), []) for number in range(draw.randrange(1, 60))]
        samples.sort(key=lambda each: -len(each.ids))
        rows = packed(samples)
        assert sorted(each.ids[0] for row in rows for each in row) == list(range(len(samples)))
        longest, total = len(samples[0].ids), sum(len(each.ids) for each in samples)
        assert all(sum(len(each.ids) for each in row) <= longest for row in rows)
        assert len(rows) <= 2 * total / longest + 1  # any two rows together are longer than one may be


def test_samples_go_where_they_leave_the_least_room():
    rows = packed([Example([0] * length, []) for length in (10, 7, 6, 4, 3, 3)])
    assert [[len(each.ids) for each in row] for row in rows] == [[10], [7, 3], [6, 4], [3]]


def test_samples_of_similar_length_share_a_batch_and_the_longest_come_first():
    lengths = [3, 40, 5, 38, 4, 39]
    found = batches([example(length, 1, DRAW) for length in lengths], 3, PAD, CPU)
    assert [each.input_ids.shape for each in found] == [(3, 40), (3, 5)]


def test_positions_begin_anew_with_each_sample_and_with_the_padding():
    rows = [[Example([5, 6, 7], [IGNORED, 6, 7]), Example([8, 9], [IGNORED, 9])], [Example([4], [IGNORED])]]
    found = batch(rows, PAD, CPU)
    assert found.input_ids.tolist() == [[5, 6, 7, 8, 9], [4, 0, 0, 0, 0]]
    assert found.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]]
    assert (found.places.tolist(), found.targets.tolist()) == ([0, 1, 3], [6, 7, 9])


def test_a_job_that_cannot_pack_ends_before_its_first_step(tmp_path):
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_config(OPTConfig(**OPT | {"vocab_size": 512}, word_embed_proj_dim=32)).save_pretrained(
        folder
    )
    tiny_tokenizer().save_pretrained(folder)
    run = runs.train(runs.tiny(training={"packing": True}) | {"model": str(folder)}, tmp_path / "job")
    assert (run.process.exitcode, run.failure["reason"], run.progress) == (2, "BadConfig", [])
    assert run.failure["message"] == (
        "training.packing: in the model a sample sees the one before it in its row. "
        "Set it to false; group_by_length spares padding too"
    )
