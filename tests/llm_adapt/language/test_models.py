import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from bridge.errors import UserError
from llm_adapt.language.models import load
from tests import tiny_language_model


def test_a_local_folder_is_read(tiny_model):
    language = load(str(tiny_model))
    assert language.context == 2048
    assert not any(weights.requires_grad for weights in language.model.parameters())
    assert not language.model.training
    assert load(str(tiny_model)) is language


def test_half_precision_is_half(tiny_model):
    assert load(str(tiny_model), "bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["no_such_model", "./no/such", "a/b/c"])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(UserError, match="neither a model of a package"):
        load(name)


def test_a_hub_name_without_a_network_is_one_sentence():
    with pytest.raises(UserError, match=r"someone/something cannot be read"):
        load("someone/something")


def test_pickles_are_not_read(tmp_path):
    folder = tiny_language_model.save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can execute code"):
        load(str(folder))


def test_a_model_with_another_attention_is_refused(tmp_path):
    config = GPTNeoXConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "model")
    tiny_language_model.tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="type 'gpt_neox'"):
        load(str(tmp_path / "model"))


def test_missing_weights_are_refused(tmp_path):
    folder = tiny_language_model.save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    removed = weights.pop("model.layers.1.mlp.up_proj.weight")
    assert removed.numel()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks .*layers\.1\.mlp\.up_proj"):
        load(str(folder))


def test_a_model_without_a_template_says_which_formats_it_reads(tmp_path):
    language = load(str(tiny_language_model.save(tmp_path / "model", chat=False)))
    with pytest.raises(UserError, match="format=log"):
        language.chat([{"role": "user", "content": "arm"}])


def test_the_fingerprint_is_of_the_weights(tiny_model, tmp_path):
    other = load(str(tiny_language_model.save(tmp_path / "model", num_hidden_layers=1)))
    assert load(str(tiny_model)).fingerprint != other.fingerprint
