"""Backbones: sizes that fit, and folders that are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from bridge.errors import UserError
from llm_adapt import backbones

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": None,
}
SIZES |= {"eos_token_id": None, "max_position_embeddings": 64}


@pytest.fixture
def llama(tmp_path):
    config = LlamaConfig(**SIZES, intermediate_size=32, num_key_value_heads=2)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_a_new_backbone_has_its_sizes_and_no_words(name):
    config = backbones.new_config(name, hidden=24, layers=3, heads=2, positions=5000)
    assert backbones.reach(config) == 5000
    model = backbones.make(config)
    positions = 24 * 5000 if name == "gpt2" else 0
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2) - positions
    assert weights == 3 * (4 * 24 * 24 + 8 * 24 * 24)
    assert not any("embed_tokens" in key or "wte" in key for key in model.state_dict())
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout))
    assert model(inputs_embeds=torch.zeros(1, 4, 24), use_cache=False).last_hidden_state.shape == (
        1,
        4,
        24,
    )


def test_only_learned_positions_end():
    made = {
        name: backbones.new_config(name, hidden=24, layers=1, heads=2, positions=10)
        for name in ("gpt2", "llama")
    }
    assert {name: backbones.last_position(config) for name, config in made.items()} == {
        "gpt2": 9,
        "llama": None,
    }


def test_a_backbone_with_a_window_of_its_own_reaches_no_farther():
    config = backbones.new_config("mistral", hidden=24, layers=1, heads=2, positions=10)
    config.sliding_window = 7
    assert backbones.reach(config) == 7


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_new_weights_are_spread_by_width(name):
    for hidden, sd in ((16, 0.16), (64, 0.08), (1024, 0.02)):
        torch.manual_seed(0)
        model = backbones.make(
            backbones.new_config(name, hidden=hidden, layers=1, heads=1, positions=1)
        )
        weight = next(
            p for key, p in model.named_parameters() if "q_proj" in key or "c_attn.weight" in key
        )
        assert abs(weight.std().item() / sd - 1) < 0.15


@pytest.mark.parametrize(
    ("name", "sizes", "told"),
    [
        ("llamma", {}, "Did you mean 'llama'"),
        (
            "gpt2",
            {"hidden": 65},
            "hidden=65 does not divide by heads=4: a head would have 16.25 numbers. Try hidden=64",
        ),
        ("llama", {"hidden": 12}, "by an even number: a head would have 3 numbers. Try hidden=16"),
        ("llama", {"layers": 0}, "'layers': 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, sizes, told):
    with pytest.raises(UserError, match=told):
        backbones.new_config(
            name, **({"hidden": 64, "layers": 2, "heads": 4, "positions": 8} | sizes)
        )


def test_what_is_suggested_is_accepted():
    for heads in (1, 3, 4):
        for hidden in (1, 5, 30, 65):
            try:
                backbones.new_config("llama", hidden=hidden, layers=1, heads=heads, positions=8)
            except UserError as error:
                other = int(str(error).rsplit("hidden=", 1)[1].rstrip("."))
                backbones.new_config("llama", hidden=other, layers=1, heads=heads, positions=8)


def test_a_folder_gives_its_weights_in_float32(llama):
    (config, weights), original = (
        backbones.load(llama),
        LlamaModel.from_pretrained(llama).state_dict(),
    )
    assert weights.keys() == original.keys() - {"embed_tokens.weight"}
    for key, value in weights.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, original[key].float())
    backbones.make(config).load_state_dict(weights)
    assert config.vocab_size == 1


def test_a_folder_has_no_dropout(tmp_path):
    GPT2LMHeadModel(GPT2Config(**SIZES)).save_pretrained(tmp_path)
    model = backbones.make(backbones.load(tmp_path)[0])
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout))


def test_no_folder(tmp_path):
    with pytest.raises(
        UserError, match=r"neither a new backbone .*llama.* nor a folder with a config\.json"
    ):
        backbones.load(tmp_path)


def test_no_json(tmp_path):
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"expected (a )?JSON"):
            backbones.load(tmp_path)


def test_no_causal_decoder(tmp_path):
    sizes = {key: SIZES[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    BertModel(BertConfig(**sizes, intermediate_size=32)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="'bert'; a policy can use gpt2, llama"):
        backbones.load(tmp_path)


def test_no_safetensors(llama):
    torch.save(load_file(llama / "model.safetensors"), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        backbones.load(llama)


def test_damaged_safetensors(llama):
    path = llama / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read as a llama model"):
        backbones.load(llama)


def test_safetensors_of_something_else(llama):
    (llama / "model.safetensors").rename(llama / "adapter_model.safetensors")
    with pytest.raises(UserError, match="cannot be read as a llama model"):
        backbones.load(llama)


def test_heads_that_do_not_divide_a_folders_width(llama):
    path = llama / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 3}))
    with pytest.raises(UserError, match=r"(?s)cannot be read as a llama model: .*16.*3"):
        backbones.load(llama)


def test_missing_weights_are_not_made_up(llama):
    path = llama / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(
        UserError, match=r"lacks 1 of the weights .*such as layers.1.self_attn.q_proj.weight"
    ):
        backbones.load(llama)


def test_positions_that_change_with_the_length_are_refused(llama):
    path = llama / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="'dynamic' rotary positions"):
        backbones.load(llama)
