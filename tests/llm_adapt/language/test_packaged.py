import json
from types import SimpleNamespace

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from bridge.errors import UserError
from llm_adapt.language import packaged
from llm_adapt.language.models import load
from tests import tiny_language_model


def write_gguf(path, model, tokenizer, left_out=()):
    """A llama model and its tokenizer as a GGUF file, with queries and keys in the order that llama.cpp has."""
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tiny_language_model.MARKERS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_eos_token_id(2)
    writer.add_chat_template(tokenizer.chat_template)

    def interleaved(weights, heads):
        return weights.view(heads, 2, -1, weights.shape[1]).transpose(1, 2).reshape_as(weights)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        if name in ("lm_head.weight", *left_out):
            continue
        if "q_proj" in name:
            weights = interleaved(weights, config.num_attention_heads)
        if "k_proj" in name:
            weights = interleaved(weights, config.num_key_value_heads)
        writer.add_tensor(names.get_name(name, (".weight",)), weights.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of a module that carries a GGUF file, with the model that it was made of."""
    folder = tmp_path_factory.mktemp("package")
    tokenizer = tiny_language_model.tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        model = LlamaForCausalLM(tiny_language_model.config(vocab_size=len(tokenizer)))
    write_gguf(folder / "tiny.gguf", model, tokenizer)
    return SimpleNamespace(folder=folder, model=model, tokenizer=tokenizer)


@pytest.fixture
def installed(package, monkeypatch, tmp_path):
    """``tiny`` is a packaged model, and the cache is empty."""
    (package.folder / "carries_tiny.py").write_text(
        "raise ImportError('nobody imports this package')"
    )
    spec = SimpleNamespace(submodule_search_locations=[str(package.folder)])
    found = packaged.importlib.util.find_spec
    monkeypatch.setattr(
        packaged.importlib.util,
        "find_spec",
        lambda name: spec if name == "carries_tiny" else found(name),
    )
    monkeypatch.setitem(
        packaged.MODELS, "tiny", packaged.Package("carries-tiny==1.0", "carries_tiny")
    )
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path))
    load.cache_clear()
    yield package
    load.cache_clear()


def test_a_packaged_model_has_the_logits_that_it_was_made_with(installed):
    language = load("tiny")
    ids = torch.tensor([language.encode("pull 1: arm C, reward 1")])
    expected = installed.model(input_ids=ids).logits
    torch.testing.assert_close(language.model(input_ids=ids).logits, expected, atol=1e-6, rtol=0)
    assert language.encode("arm C 12") == tuple(installed.tokenizer.encode("arm C 12"))
    assert language.chat([{"role": "user", "content": "arm"}]).endswith("<|im_start|>assistant\n")


def test_it_is_converted_once(installed, monkeypatch):
    folder = packaged.folder("tiny")
    monkeypatch.setattr(packaged, "convert", lambda *_: pytest.fail("converted again"))
    assert packaged.folder("tiny") == folder
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.gguf"))


def test_every_parameter_is_floating_trainable_and_savable(package, tmp_path):
    check_ordinary(packaged.dequantised(package.folder / "tiny.gguf"), tmp_path)


def test_a_file_without_some_weights_is_refused(package, tmp_path):
    lacking = ("model.layers.0.mlp.up_proj.weight",)
    write_gguf(tmp_path / "tiny.gguf", package.model, package.tokenizer, lacking)
    with pytest.raises(UserError, match=r"tiny\.gguf lacks .*up_proj"):
        packaged.dequantised(tmp_path / "tiny.gguf")


@pytest.mark.slow
@pytest.mark.llm
def test_smollm2_is_an_ordinary_model(tmp_path):
    folder = packaged.folder("smollm2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(weights.numel() for weights in model.parameters()) == 134_515_008
    check_ordinary(model, tmp_path)


def check_ordinary(model, folder):
    assert all(weights.is_floating_point() for weights in model.parameters())
    assert all(weights.requires_grad for weights in model.parameters())
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert all(weights.grad is not None for weights in model.parameters())
    model.save_pretrained(folder / "saved")
    again = AutoModelForCausalLM.from_pretrained(folder / "saved")
    for name, weights in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weights)
    assert not getattr(again, "is_quantized", False)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(
        packaged.MODELS, "tiny", packaged.Package("no-such-package==1.0", "no_such_module")
    )
    with pytest.raises(UserError, match=r"make llm .*--no-deps no-such-package==1\.0"):
        packaged.folder("tiny")
