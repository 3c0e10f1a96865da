"""A model made from a seed and its tokenizer, for where there is no network and no GPU.

The model has Qwen2's shape (4 layers, width 128, about 1.1 million parameters) and random weights; only the
adapter learns. The weights are drawn wider than usual (0.08 instead of 0.02), so that the frozen layers
pass on enough of their input for an adapter to work with.
"""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ..data import tiny_instructions

VOCABULARY = 512
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(seed: int) -> Any:  # noqa: ANN401  # transformers is not typed for us
    """The base model; equal seeds give equal weights."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.08,
    )
    return Qwen2ForCausalLM(config)


def tiny_tokenizer() -> Any:  # noqa: ANN401  # transformers is not typed for us
    """A byte-level BPE tokenizer like Qwen's, trained on a fixed sample of the instructions made from a seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rows = tiny_instructions(1000, seed=0)
    tokenizer.train_from_iterator([f"{r['prompt']} {r['response']}" for r in rows], trainer)
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHATML, **roles)
