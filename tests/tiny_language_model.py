"""A tiny language model with a tokenizer of its own, made on the spot: random weights in transformers' own files."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "There are 5 arms. Each pull of an arm pays 0 or 1. Some arms pay more than others. Arms: A, B, C, D, E",
    "pull 1: arm C, reward 1\npull 2: arm A, reward 0\narm A: count 3, mean reward 0.67\n",
    "step 1: cell (0, 0), move right, reward -0.1\nred blue green yellow purple stay up down left",
]


def tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """Byte pairs of some prompts; digits stand alone, as in SmolLM2."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        TEXTS * 4,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=MARKERS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=MARKERS[2],
        pad_token=MARKERS[2],
        chat_template=CHAT if chat else None,
    )


def config(kind: str = "llama", **changes: object) -> PreTrainedConfig:
    sizes = {
        "vocab_size": 400,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
    }
    if kind != "gpt2":
        sizes |= {"intermediate_size": 64, "num_key_value_heads": 2}
    return AutoConfig.for_model(kind, **sizes | changes)


@functools.cache
def folder() -> Path:
    """A folder of the model and its tokenizer, which is there until this process ends."""
    place = Path(tempfile.mkdtemp(prefix="tiny-language-model-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return save(place)


def save(folder: Path, *, chat: bool = True, kind: str = "llama", **changes: object) -> Path:
    """Write a model of a kind and the tokenizer into a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        AutoModelForCausalLM.from_config(config(kind, **changes)).save_pretrained(folder)
    tokenizer(chat=chat).save_pretrained(folder)
    return folder
