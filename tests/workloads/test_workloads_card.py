"""The model card beside the adapter, as the Hugging Face hub's own library reads it."""

import json

import lora_runs as runs
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as some
from workloads.lora.settings import parse
from workloads.lora.training.card import Placement, escaped, model_card

PLACED = {
    "cluster": "no-osl-1",
    "region": "norwayeast",
    "zone": "NO-NO1",
    "gpuType": "A100",
    "gpus": 4,
    "watts": 1800.0,
    "pue": 1.1,
    "gramsPerKwh": 33.8,
    "source": "electricitymaps",
}
NUMBERS = {
    "energy_kwh": 2.0,
    "energy_source": "nvml",
    "host_energy_kwh": 0.5,
    "energy_estimated_share": 0.0,
    "step": 1500,
    "initial_validation_loss": 2.1,
    "validation_loss": 1.4,
}
UNMEASURED = NUMBERS | dict.fromkeys(("energy_kwh", "energy_source", "host_energy_kwh", "energy_estimated_share"))


def card_of(monkeypatch, placed=None, model="Qwen/Qwen2.5-Coder-7B-Instruct", dataset=None, **numbers) -> ModelCard:
    """The card as the hub reads it."""
    text = placed if isinstance(placed, str) else json.dumps(placed or {})
    monkeypatch.setenv("LORA_PLACEMENT", text)
    settings = parse(json.dumps({"model": model, "dataset": dataset or {"name": "nvidia/HelpSteer2"}}))
    return ModelCard(model_card(settings, NUMBERS | numbers, 7200.0))


def test_the_hub_reads_base_data_loss_and_emissions(monkeypatch):
    data = card_of(monkeypatch, PLACED).data
    assert (data.base_model, data.library_name, data.datasets) == (
        "Qwen/Qwen2.5-Coder-7B-Instruct",
        "peft",
        ["nvidia/HelpSteer2"],
    )
    assert (data.pipeline_tag, "lora" in data.tags) == ("text-generation", True)
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("loss", 1.4, "nvidia/HelpSteer2")
    assert data.co2_eq_emissions == {
        "emissions": pytest.approx(2.5 * 1.1 * 33.8),
        "source": "carbonfleet: 2.5 kWh measured by nvml, times PUE 1.1 and 33.8 gCO2e/kWh as expected when it was "
        "placed (electricitymaps); its ledger has what the grid really emitted",
        "training_type": "fine-tuning",
        "geographical_location": "norwayeast, grid zone NO-NO1",
        "hardware_used": "CPU",
    }


def test_without_a_meter_the_hardwares_power_is_taken_and_said_to_be(monkeypatch):
    emitted = card_of(monkeypatch, PLACED, **UNMEASURED).data.co2_eq_emissions
    assert emitted["emissions"] == pytest.approx(3.6 * 1.1 * 33.8)
    assert "3.6 kWh estimated from the hardware's power" in emitted["source"]


def test_what_was_filled_is_said(monkeypatch):
    emitted = card_of(monkeypatch, PLACED, energy_estimated_share=0.25).data.co2_eq_emissions
    assert "measured by nvml, 25 % of it filled" in emitted["source"]


@pytest.mark.parametrize("placed", [None, PLACED | {"gramsPerKwh": None}], ids=["by hand", "no intensity"])
def test_where_nobody_knows_the_grid_no_grams_are_claimed(monkeypatch, placed):
    card = card_of(monkeypatch, placed)
    assert card.data.to_dict().get("co2_eq_emissions") is None
    assert "| energy | 2.5 kWh |" in card.text
    assert "| emitted | not known here |" in card.text


def test_simulated_gpus_are_named_so_and_use_nothing(monkeypatch):
    card = card_of(monkeypatch, PLACED | {"simulated": True}, **UNMEASURED)
    assert card.data.to_dict().get("co2_eq_emissions") is None
    assert "| energy | not measured |" in card.text
    assert "CPU, in place of 4 simulated A100" in card.text


def test_a_path_is_no_base_on_the_hub(monkeypatch):
    card = card_of(monkeypatch, PLACED, model="/models/mine", dataset={"path": "/datasets/mine.jsonl"})
    assert (card.data.base_model, card.data.datasets, card.data.eval_results) == (None, None, None)
    assert "Trained on /models/mine with /datasets/mine.jsonl." in card.text


HOSTILE = [
    "a\n---\nlicense: mit\n---",
    "a: [b",
    "'\"",
    "<script>alert(1)</script>",
    "![x](http://127.0.0.1/)",
    "| a |\n|---|",
    "\x1b[31m",
    "\u202egnp",
    "&#60;b>",
    "# heading",
    "=1+1",
    "!!python/object:os.system",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_from_users_is_text(monkeypatch, text):
    calm, placed = card_of(monkeypatch, PLACED), {**PLACED, **dict.fromkeys(("cluster", "region", "source"), text)}
    card = card_of(monkeypatch, placed, dataset={"path": f"/datasets/{text}"})
    assert card.data.to_dict().keys() <= calm.data.to_dict().keys()
    assert card.data.to_dict()["co2_eq_emissions"].keys() == calm.data.to_dict()["co2_eq_emissions"].keys()
    assert card.text.count("\n") == calm.text.count("\n")
    assert not [part for part in ("<", "\x1b", "\u202e", "](") if part in card.text]


@given(some.text())
def test_any_text_stays_on_its_line_and_reads_back_from_yaml(text):
    shown = escaped(text)
    assert "\n" not in shown
    assert "<" not in shown
    placement = Placement.read(json.dumps({"region": text}))
    card = ModelCardData(co2_eq_emissions={"geographical_location": placement.location})
    assert yaml.safe_load(card.to_yaml())["co2_eq_emissions"]["geographical_location"] == placement.location


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from([*PLACED, "simulated"]), inner),
    max_leaves=12,
)


@given(JSON | some.text())
def test_whatever_a_placement_says_it_is_read_as_figures_and_words(said):
    read = Placement.read(json.dumps(said) if not isinstance(said, str) else said)
    assert all(figure is None or 0 <= figure < float("inf") for figure in (read.watts, read.pue, read.grams_per_kwh))
    assert read.gpus >= 0


def test_the_adapter_of_a_run_carries_its_card(tmp_path):
    run = runs.start(runs.tiny(4), tmp_path / "job", LORA_PLACEMENT=json.dumps(PLACED))
    assert run.wait() == 0
    card = ModelCard.load(tmp_path / "job" / "adapter" / "README.md")
    told = runs.metrics(tmp_path / "job")
    assert (card.data.base_model, card.data.library_name) == ("carbonfleet/tiny-qwen2", "peft")
    assert card.data.eval_results[0].metric_value == told["validation_loss"]
    assert card.data.co2_eq_emissions["emissions"] > 0
