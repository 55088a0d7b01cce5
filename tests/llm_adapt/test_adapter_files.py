"""Adapters that others have made: what peft says of them is what we say, or they are refused by name."""

import copy
import json
import shutil
import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt import low_rank, trainable
from llm_adapt.base_policy import fingerprint
from llm_adapt.local_files import ADAPTER_WEIGHTS
from llm_adapt.policy import TransformerPolicy, build

ATTENTION = ["q_proj", "v_proj"]
FULL_NAMES = ["backbone.layers.0.self_attn.q_proj", "backbone.layers.1.mlp.up_proj"]

COMPUTED_ALIKE = {
    "ends of names": {"target_modules": ATTENTION},
    "full names": {"target_modules": FULL_NAMES},
    "a pattern": {"target_modules": r".*layers\.1\..*(q|o)_proj"},
    "names without some": {
        "target_modules": ATTENTION,
        "exclude_modules": ["layers.0.self_attn.q_proj"],
    },
    "names without a pattern": {"target_modules": ATTENTION, "exclude_modules": r".*layers\.0.*"},
    "one layer": {"target_modules": ATTENTION, "layers_to_transform": 1},
    "some layers by pattern": {
        "target_modules": ATTENTION,
        "layers_to_transform": [0],
        "layers_pattern": "layers",
    },
    "dropout": {"target_modules": ATTENTION, "lora_dropout": 0.5},
    "transposed where it is not": {"target_modules": ATTENTION, "fan_in_fan_out": True},
    "gaussian": {"target_modules": ATTENTION, "init_lora_weights": "gaussian"},
    "orthogonal": {"target_modules": ATTENTION, "init_lora_weights": "orthogonal"},
    "eva": {"target_modules": ATTENTION, "init_lora_weights": "eva"},
    "not initialised": {"target_modules": ATTENTION, "init_lora_weights": False},
}
OTHERWISE = [
    *(
        {"init_lora_weights": init}
        for init in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica")
    ),
    {"init_lora_weights": "of a later version"},
    {"use_dora": True},
    {"use_rslora": True},
    {"use_qalora": True},
    {"rank_pattern": {"q_proj": 4}},
    {"alpha_pattern": {"q_proj": 4}},
    {"modules_to_save": ["critic"]},
    {"bias": "all"},
    {"bias": "lora_only"},
    {"lora_bias": True},
    {"alora_invocation_tokens": [1, 2]},
    {"layer_replication": [[0, 1], [0, 1]]},
    {"target_parameters": ["actor.weight"]},
    {"trainable_token_indices": [0]},
    {"megatron_config": {"x": 1}},
    {"corda_config": {"x": 1}},
    {"loftq_config": {"loftq_bits": 4}},
    {"arrow_config": {"x": 1}},
    {"a_setting_of_a_later_version": "strong"},
    {"a_scale_of_a_later_version": 0.0},
    {"use_what_comes_next": True},
]


def policy(name: str = "llama", seed: int = 0) -> TransformerPolicy:
    """One that prefers some actions already, as a trained one does."""
    with seeded_init(seed), torch.no_grad():
        made = build(
            name, Discrete(4), Discrete(3), hidden=16, layers=2, heads=2, positions=16
        ).eval()
        made.actor.weight *= 100
    return made


def tokens(made: TransformerPolicy) -> torch.Tensor:
    return Rows.of("tokens", torch.arange(4)).normal(7 * made.layout.width).view(4, 7, -1)


def saved_by_peft(base: TransformerPolicy, folder, *, trained: bool = True, **settings) -> None:
    """An adapter as peft makes it, moved from its first weights if it is ``trained``."""
    with warnings.catch_warnings(), seeded_init(0):
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, **settings))
        for name, weights in wrapped.named_parameters():
            if trained and "lora_" in name:
                weights.data.normal_(std=0.3)
        wrapped.peft_config["default"].base_model_name_or_path = fingerprint(base)
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def edit(folder, **settings) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def said_by_us(base: TransformerPolicy, folder) -> torch.Tensor:
    setting, adapters = low_rank.load(base, folder)
    with setting.on(base, adapters):
        return base(tokens(base)).out


def said_by_peft(base: TransformerPolicy, folder) -> torch.Tensor:
    with warnings.catch_warnings(), seeded_init(0):
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(copy.deepcopy(base), str(folder))(tokens(base)).out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A plain adapter of the queries."""
    folder = tmp_path_factory.mktemp("plain")
    saved_by_peft(policy(), folder, target_modules=["q_proj"])
    return folder


@pytest.fixture
def adapter(plain, tmp_path):
    """A copy of that, to be edited."""
    return shutil.copytree(plain, tmp_path / "adapter")


@pytest.mark.parametrize("settings", COMPUTED_ALIKE.values(), ids=COMPUTED_ALIKE)
def test_a_plain_adapter_says_what_it_says_in_peft(settings, tmp_path):
    base = policy()
    saved_by_peft(base, tmp_path, **settings)
    theirs = said_by_peft(base, tmp_path)
    assert (theirs - base(tokens(base)).out).abs().max() > 0.05
    torch.testing.assert_close(said_by_us(base, tmp_path), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        trainable.load(base, tmp_path)(tokens(base)).out, theirs, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "targets", [["attn.c_proj"], r".*h\.1\..*c_(attn|proj)", ["backbone.h.0.mlp.c_fc"]]
)
def test_so_does_one_of_transposed_weights(targets, tmp_path):
    base = policy("gpt2")
    saved_by_peft(base, tmp_path, target_modules=targets)
    theirs = said_by_peft(base, tmp_path)
    torch.testing.assert_close(said_by_us(base, tmp_path), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        trainable.load(base, tmp_path)(tokens(base)).out, theirs, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_was_taken_out_of_its_base_is_refused(init, tmp_path):
    """Untrained it shifted outputs by 0.15 and 0.10, where an untrained adapter changes nothing."""
    base = policy()
    saved_by_peft(base, tmp_path, trained=False, target_modules=ATTENTION, init_lora_weights=init)
    for load in (low_rank.load, trainable.load):
        with pytest.raises(
            UserError, match=f"an adapter with init_lora_weights='{init}', which is not read here"
        ):
            load(base, tmp_path)


@pytest.mark.parametrize("settings", OTHERWISE, ids=str)
def test_an_adapter_that_means_something_else_is_refused_by_name(settings, adapter):
    base = policy()
    edit(adapter, **settings)
    for load in (low_rank.load, trainable.load):
        with pytest.raises(
            UserError, match=f"an adapter with {next(iter(settings))}=.* Train one without"
        ):
            load(base, adapter)


def test_settings_of_later_versions_that_are_off_and_of_earlier_ones_that_are_absent_change_nothing(
    adapter,
):
    base = policy()
    before = said_by_us(base, adapter)
    edit(adapter, use_what_comes_next=False, next_config=None, next_pattern={}, next_names=[])
    assert torch.equal(said_by_us(base, adapter), before)
    needed = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({name: json.loads(path.read_text())[name] for name in needed}))
    assert torch.equal(said_by_us(base, adapter), before)


@pytest.mark.parametrize("kind", ["ia3", "prompt"])
def test_other_kinds_are_read_as_strictly(kind, tmp_path):
    base = policy()
    tuned = trainable.Trainable(tuner=kind).begin(base, seed=0)
    tuned.save(tmp_path)
    trainable.load(base, tmp_path)
    edit(tmp_path, modules_to_save=["critic"], later=2)
    with pytest.raises(
        UserError, match=r"with later=2, modules_to_save=\['critic'\], which is not read here"
    ):
        trainable.load(base, tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"target_modules": ["q_proj", "actor"]},
            "an adapter of 'actor'; expected linear modules of the backbone",
        ),
        ({"target_modules": ".*"}, "expected linear modules of the backbone"),
        ({"target_modules": "all-linear"}, "an adapter of no module"),
        ({"target_modules": ["query"]}, "an adapter of no module"),
        ({"target_modules": "(q_proj"}, "whose modules cannot be matched"),
        ({"target_modules": ["k_proj"]}, "holds other weights than its adapter_config.json says"),
        ({"r": 4}, r"has shape \(2, 16\), expected \(4, 16\)"),
        ({"lora_alpha": 2.5}, "with lora_alpha=2.5; expected a whole number"),
        ({"r": "2"}, "with r='2'; expected a whole number"),
        (
            {"peft_type": "VERA"},
            "an adapter of kind VERA; expected one of LORA, IA3, PROMPT_TUNING",
        ),
        ({"peft_type": None}, "an adapter of kind None"),
    ],
)
def test_modules_and_shapes_that_do_not_fit_are_told(settings, told, adapter):
    base = policy()
    edit(adapter, **settings)
    with pytest.raises(UserError, match=told):
        low_rank.load(base, adapter)


@pytest.mark.parametrize("text", ["[]", "{", "\xff"])
def test_a_config_that_is_none_is_told(text, adapter):
    base = policy()
    (adapter / "adapter_config.json").write_bytes(text.encode("latin-1"))
    for load in (low_rank.load, trainable.load):
        with pytest.raises(UserError, match=r"adapter_config\.json cannot be read"):
            load(base, adapter)


def test_a_prompt_of_other_vectors_than_it_says_is_refused(tmp_path):
    base = policy()
    trainable.Trainable(tuner="prompt", rank=3).begin(base, seed=0).save(tmp_path)
    edit(tmp_path, num_virtual_tokens=4)
    with pytest.raises(UserError, match="no prompt of 4 vectors of 16 numbers"):
        trainable.load(base, tmp_path)


@pytest.mark.parametrize(
    "settings", [{"base_model_name_or_path": 3}, {"lora_alpha": 10**400}, {"lora_alpha": 10**9}]
)
def test_settings_of_other_types_or_sizes_are_told(settings, adapter):
    edit(adapter, **settings)
    with pytest.raises(UserError, match=r"expected text|expected a whole number|can be read"):
        low_rank.load(policy(), adapter)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told(bad, adapter):
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    next(iter(weights.values()))[0, 0] = bad
    save_file(weights, adapter / ADAPTER_WEIGHTS)
    with pytest.raises(UserError, match="is not of finite real numbers"):
        low_rank.load(policy(), adapter)
