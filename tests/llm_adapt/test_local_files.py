"""No loader opens a connection or reads a pickle, whether it is given a folder or a name that is none."""

import socket
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from bridge.errors import UserError
from bridge.protocol import Card
from bridge.tasks import family as make_family
from bridge.training.learner import seeded_init
from experiments import finetuned
from llm_adapt import backbones, base_policy, data, lora, low_rank, soft_prompt, trainable
from llm_adapt.finetuning import Config, Returns, Tuning
from llm_adapt.in_context import InContext
from llm_adapt.policy import TransformerPolicy, build

FAMILY = make_family("bandit:k=3,n=6")
KINDS = ("lora", "ia3", "prompt", "head", "full")


@pytest.fixture
def connections(monkeypatch) -> list:
    """What is asked of a network, all of which fails; nobody knows that there is none."""
    asked = []

    def refuse(*given: object, **_: object) -> None:
        asked.append(given)
        raise OSError("no connection is wanted")

    for where, name in (
        (socket, "getaddrinfo"),
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
    ):
        monkeypatch.setattr(where, name, refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return asked


@pytest.fixture
def unpickled(monkeypatch) -> list:
    """What is given to torch's reader of pickles."""
    given, read = [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda *args, **options: given.append(args) or read(*args, **options)
    )
    return given


def policy() -> TransformerPolicy:
    with seeded_init(0):
        return build(
            "llama", FAMILY.observation, FAMILY.action, hidden=16, layers=1, heads=2, window=16
        ).eval()


def saved(kind: trainable.Kind, base: TransformerPolicy, folder: Path) -> Path:
    trainable.Trainable(tuner=kind).begin(base, seed=0).save(folder)
    return folder


def decoder(folder: Path) -> Path:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(
        LlamaConfig(**sizes, intermediate_size=32, max_position_embeddings=64)
    ).save_pretrained(folder)
    return folder


def pickled(folder: Path, safe: str, other: str) -> Path:
    """The same weights in a file of the other kind."""
    torch.save(load_file(folder / safe), folder / other)
    (folder / safe).unlink()
    return folder


def loaders(name: str) -> dict:
    place = Path(name)
    return {
        "adapter of a trial": lambda: low_rank.load(policy(), place),
        "adapter of a method": lambda: lora.Config(adapter=name).trial_weights(policy()),
        "tuned policy": lambda: trainable.load(policy(), place),
        "prompt": lambda: soft_prompt.load(policy(), place),
        "policy": lambda: base_policy.read(place),
        "decoder": lambda: backbones.load(name),
        "backbone of a policy": lambda: build(name, FAMILY.observation, FAMILY.action),
        "histories": lambda: data.stored(place, FAMILY),
        "tuned folder": lambda: finetuned.load_agent(name, FAMILY),
        "run": lambda: finetuned.finetune(
            name, FAMILY.id, Config(), place / "out", split="", demos=""
        ),
    }


@pytest.mark.parametrize("loader", loaders(""))
def test_a_name_that_is_no_folder_is_asked_of_nobody(loader, connections, tmp_path, monkeypatch):
    """A mistyped adapter= was five requests to a model hub, and would have been a download."""
    monkeypatch.chdir(tmp_path)
    for name in ("somebody/something", "something"):
        with pytest.raises(UserError, match="something"):
            loaders(name)[loader]()
    assert connections == []


@pytest.mark.parametrize("kind", KINDS)
def test_tuned_policies_are_trained_saved_and_read_without_a_connection(
    kind, connections, tmp_path
):
    base, config = policy(), Config(tuner=kind, steps=1, batch=60)
    tuned = config.begin(base, seed=0)
    signal = Returns(InContext(tuned.policy, Card(method="tuned")), FAMILY, "train", config)
    assert len(list(Tuning(tuned, signal, config).steps())) == 1
    tuned.save(tmp_path)
    trainable.load(base, tmp_path)
    if kind == "lora":
        low_rank.load(base, tmp_path)
    assert connections == []


def test_policies_decoders_and_histories_are_read_without_a_connection(connections, tmp_path):
    policy().save_pretrained(tmp_path / "policy")
    base_policy.read(tmp_path / "policy")
    backbones.load(decoder(tmp_path / "decoder"))
    made = data.Collection(FAMILY, ("random",), rows=4, folder=tmp_path)
    made.shard(0)
    assert len(data.stored(made.folder, FAMILY).rows) == 4
    assert connections == []


@pytest.mark.parametrize("kind", ["lora", "ia3", "prompt"])
def test_pickles_of_adapters_are_refused_and_not_opened(kind, unpickled, tmp_path):
    base = policy()
    folder = pickled(saved(kind, base, tmp_path), "adapter_model.safetensors", "adapter_model.bin")
    load = {"lora": low_rank.load, "ia3": trainable.load, "prompt": soft_prompt.load}[kind]
    for read in (load, trainable.load):
        with pytest.raises(
            UserError,
            match=r"has adapter_model\.bin, which is not read: such a file can execute code",
        ):
            read(base, folder)
    assert unpickled == []


@pytest.mark.parametrize("kind", ["head", "full"])
def test_pickles_of_tuned_policies_are_refused_and_not_opened(kind, unpickled, tmp_path):
    base = policy()
    pickled(saved(kind, base, tmp_path) / "tuned", "model.safetensors", "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has pytorch_model\.bin, which is not read"):
        trainable.load(base, tmp_path)
    assert unpickled == []


def test_pickles_of_policies_and_decoders_are_refused_and_not_opened(unpickled, tmp_path):
    policy().save_pretrained(tmp_path / "policy")
    decoder(tmp_path / "decoder")
    for name, load in (("policy", base_policy.read), ("decoder", backbones.load)):
        folder = pickled(tmp_path / name, "model.safetensors", "pytorch_model.bin")
        with pytest.raises(UserError, match=r"has pytorch_model\.bin, which is not read"):
            load(folder)
    assert unpickled == []


def test_a_model_beside_an_adapter_is_not_swapped_for_the_adapters_base(tmp_path):
    """transformers reads the base that an adapter_config.json names, wherever that is, in place of the model."""
    policy().save_pretrained(tmp_path / "policy")
    decoder(tmp_path / "decoder")
    for name, load in (("policy", base_policy.read), ("decoder", backbones.load)):
        saved("lora", policy(), tmp_path / name)
        with pytest.raises(UserError, match="holds a model and an adapter"):
            load(tmp_path / name)
