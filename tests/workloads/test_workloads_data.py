"""How rows become chats, chats become tokens, and who sees which of them when."""

import copy
import json

import pytest
import torch
from workloads.lora.data import IGNORED, TINY_SAMPLES, Example, batch, indexes_of_step, load_data
from workloads.lora.failure import Failure
from workloads.lora.settings import Settings, parse
from workloads.lora.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def settings(dataset: dict, **training) -> Settings:
    return parse(json.dumps({"model": "m", "dataset": dataset, "training": training}))


def rows(tmp_path, *found: dict) -> dict:
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return {"path": str(tmp_path / "data.jsonl")}


def texts(tokenizer, examples: list[Example]) -> list[str]:
    return [tokenizer.decode(e.ids) for e in examples]


def both(data) -> list[Example]:
    return [*data.train, *data.validation]


def test_a_fifth_is_held_back_and_the_seed_decides_which(tokenizer):
    name = {"name": "carbonfleet/tiny-instructions"}
    first, again, other = (load_data(settings(name, seed=seed), tokenizer) for seed in (1, 1, 2))
    assert len(first.validation) == pytest.approx(0.2 * TINY_SAMPLES, rel=0.05)
    assert len(both(first)) == TINY_SAMPLES
    assert first == again
    assert texts(tokenizer, first.validation) != texts(tokenizer, other.validation)


def test_responses_to_one_prompt_stay_on_one_side(tokenizer, tmp_path):
    found = [{"prompt": f"p{i // 2}", "response": f"r{i}"} for i in range(100)]
    data = load_data(settings(rows(tmp_path, *found)), tokenizer)
    prompts = [{tokenizer.decode(e.ids[: e.prompt_tokens]) for e in part} for part in (data.train, data.validation)]
    assert not prompts[0] & prompts[1]
    assert (len(data.train), len(data.validation)) == (80, 20)


def test_only_so_many_samples_are_drawn_by_seed(tokenizer, tmp_path):
    found = [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(50)]
    draws = [load_data(settings({**rows(tmp_path, *found), "samples": 20}, seed=seed), tokenizer) for seed in (1, 2)]
    assert [len(both(data)) for data in draws] == [20, 20]
    assert set(texts(tokenizer, both(draws[0]))) != set(texts(tokenizer, both(draws[1])))


def test_loss_is_on_the_response_alone(tokenizer, tmp_path):
    found = [{"prompt": "Say yes.", "response": "Yes."}, {"prompt": "Say no.", "response": "No."}] * 5
    example = load_data(settings(rows(tmp_path, *found)), tokenizer).train[0]
    labels = batch([example, Example([1] * 40, 1)], 0, torch.device("cpu"))["labels"][0]
    assert tokenizer.decode(labels[labels != IGNORED]) in ("Yes.<|im_end|>\n", "No.<|im_end|>\n")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            {
                "prompt": "hi\n\n<extra_id_1>Assistant\nyes?\n\n<extra_id_1>User\nbye",
                "response": "so long",
                "verbosity": 1,
            },
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes?<|im_end|>\n"
            "<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\nso long<|im_end|>\n",
        ),
        (
            {"instruction": "add", "input": "1 2", "output": "3"},
            "<|im_start|>user\nadd\n\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
        ),
    ],
)
def test_rows_of_the_known_shapes_become_chats(row, text, tokenizer, tmp_path):
    others = [{"prompt": f"p{i}", "response": "r"} for i in range(9)]
    assert text in texts(tokenizer, both(load_data(settings(rows(tmp_path, row, *others)), tokenizer)))


def test_a_dataset_by_name_is_loaded_by_the_datasets_library(tokenizer, tmp_path):
    """A folder is a name too, and needs no network."""
    (tmp_path / "named").mkdir()
    rows(tmp_path / "named", *({"prompt": f"p{i}", "response": f"r{i}"} for i in range(30)))
    data = load_data(settings({"name": str(tmp_path / "named"), "samples": 20}), tokenizer)
    assert (len(data.train), len(data.validation)) == (16, 4)


@pytest.mark.parametrize("row", [{"messages": [{"role": "user"}]}, {"messages": ["x", "y"]}, {"prompt": "a"}])
def test_rows_of_unknown_shapes_are_refused(row, tokenizer, tmp_path):
    with pytest.raises(Failure, match="UnknownDataset"):
        load_data(settings(rows(tmp_path, *[row] * 9)), tokenizer)


def test_a_chat_that_the_models_template_refuses_is_refused(tokenizer, tmp_path):
    strict = copy.copy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Failure, match=r"UnknownDataset: the model's chat template refuses .* roles must alternate"):
        load_data(settings({"name": "carbonfleet/tiny-instructions"}), strict)


def test_rows_below_the_wanted_helpfulness_are_left_out(tokenizer, tmp_path):
    found = [{"prompt": f"p{i}", "response": f"r{i}", "helpfulness": i % 5} for i in range(50)]
    data = load_data(settings({**rows(tmp_path, *found), "minimum_helpfulness": 3}), tokenizer)
    assert len(both(data)) == 20


def test_a_response_cut_off_whole_is_left_out(tokenizer, tmp_path):
    found = [{"prompt": f"p{i} " + "long " * 50 * (i % 2), "response": "r"} for i in range(20)]
    data = load_data(settings(rows(tmp_path, *found), sequence_length=40), tokenizer)
    assert len(both(data)) == 10
    with pytest.raises(Failure, match="cuts off every response"):
        load_data(settings(rows(tmp_path, *found), sequence_length=8), tokenizer)


def test_each_epoch_shows_every_sample_once_in_another_order():
    epochs = [[i for step in range(5 * e, 5 * e + 5) for i in indexes_of_step(step, 4, 20, seed=3)] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    across = indexes_of_step(1, 13, 20, seed=3)  # the end of one epoch and the start of the next
    assert across == (epochs[0] + epochs[1])[13:26]
