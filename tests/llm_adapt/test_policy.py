"""The policy: whole trials and cached steps say the same, nothing sees the future, and it is saved as it is."""

import contextlib
import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModel, LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bridge import memory as tree
from bridge import spaces
from bridge.errors import ContractError, UserError
from bridge.tasks.base import Box, Discrete
from bridge.training.learner import seeded_init
from llm_adapt import base_policy
from llm_adapt.attention import ATTENTION
from llm_adapt.backbones import BACKBONES
from llm_adapt.cache import write
from llm_adapt.policy import TransformerPolicy, build

WINDOW = 6
LENGTHS = (WINDOW - 2, WINDOW, WINDOW + 1, 3 * WINDOW + 1)
PLANE, THREE = Box((0.0, -1.0), (4.0, 1.0)), Discrete(3)


def noisy(policy, dtype=torch.float64):
    """Every weight large enough to matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return policy.to(dtype).eval()


def small(name="llama", *, window=WINDOW, dtype=torch.float64, layers=2, action=THREE, **sizes):
    sizes = {"hidden": 16, "heads": 2, "positions": 64} | sizes
    with seeded_init(0):
        policy = build(name, PLANE, action, layers=layers, window=window, **sizes)
    return noisy(policy, dtype)


def trials(policy, rows, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(
        rows, steps, policy.layout.width, generator=generator, dtype=policy.embed.weight.dtype
    )


def play(policy, tokens, cache, live=None):
    """Step by step; ``live`` is ``[B, T]``."""
    said = []
    for t in range(tokens.shape[1]):
        reading = policy.read(tokens[:, t], cache)
        cache = write(cache, reading.entry, None if live is None else live[:, t])
        said.append(reading[:2])
    return [torch.stack(part, 1) for part in zip(*said, strict=True)], cache


def close(found, expected, atol=1e-10):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


def transformers_own(policy, **changes):
    """The policy's decoder without anything of ours."""
    config = copy.deepcopy(policy.config.backbone_config)
    for name, value in changes.items():
        setattr(config, name, value)
    decoder = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float64)
    missing, unexpected = decoder.load_state_dict(policy.backbone.state_dict(), strict=False)
    assert len(missing) == 1  # the embedding of words
    assert not unexpected
    return decoder


# --- the same thing said in two ways ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("steps", LENGTHS)
def test_steps_say_what_whole_trials_say(name, steps):
    policy = small(name)
    tokens = trials(policy, 3, steps)
    said, _ = play(policy, tokens, policy.new_cache(3, steps))
    whole = policy(tokens)
    close(said, whole)
    assert whole.out.std() > 0.1
    assert whole.value.std() > 0.1


@pytest.mark.parametrize("name", BACKBONES)
def test_steps_say_what_whole_trials_say_in_single_precision(name):
    policy = small(name, dtype=torch.float32)
    tokens = trials(policy, 3, 20)
    close(play(policy, tokens, policy.new_cache(3, 20))[0], policy(tokens), atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_policy_is_transformers_own_decoder_under_a_band(name):
    """Its eager attention, whose softmax is in single precision, with a mask that is written out entry by entry."""
    policy, steps = small(name), 15
    tokens, decoder = trials(policy, 2, steps), transformers_own(policy)
    mask = torch.full((1, 1, steps, steps), -torch.inf, dtype=torch.float64)
    for t in range(steps):
        for s in range(max(0, t - WINDOW + 1), t + 1):
            mask[0, 0, t, s] = 0
    with torch.no_grad():
        hidden = decoder(
            inputs_embeds=policy.embed(tokens), attention_mask=mask, use_cache=False
        ).last_hidden_state
        close(policy(tokens), (policy.actor(hidden), policy.critic(hidden)[..., 0]), atol=1e-5)


def test_the_window_is_the_sliding_window_of_transformers():
    policy = small("mistral")
    tokens, decoder = trials(policy, 2, 20), transformers_own(policy, sliding_window=WINDOW)
    with torch.no_grad():
        hidden = decoder(inputs_embeds=policy.embed(tokens)).last_hidden_state
        close(policy(tokens)[:1], [policy.actor(hidden)], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("span", [9, 40])
def test_a_context_absorbed_at_once_is_one_that_was_read_step_by_step(name, span):
    """Twice, the second time behind what is there already, with rows of unlike lengths (0 and over the window too)."""
    policy = small(name)
    counts = ([4, 0, 3], [5, 2, 0]) if span == 9 else ([20, 0, 7], [13, 2, 0])
    at_once, one_by_one = policy.new_cache(3, span), policy.new_cache(3, span)
    for seed, count in enumerate(map(torch.tensor, counts)):
        tokens = trials(policy, 3, int(count.max()), seed)
        at_once = policy.absorb(tokens, at_once, count)
        live = torch.arange(tokens.shape[1]) < count[:, None]
        one_by_one = play(policy, tokens, one_by_one, live)[1]
        close(tree.leaves(at_once), tree.leaves(one_by_one))
    whole = trials(policy, 3, 7)
    rest = [
        policy.absorb(whole, policy.new_cache(3, 7)),
        play(policy, whole, policy.new_cache(3, 7))[1],
    ]
    close(tree.leaves(rest[0]), tree.leaves(rest[1]))


# --- what may depend on what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("steps", [WINDOW, 13])
def test_nothing_sees_the_future(name, steps):
    policy = small(name)
    tokens, other = trials(policy, 2, steps), trials(policy, 2, steps, seed=1)
    for t in (1, 4, steps - 1):
        before, after = policy(tokens), policy(torch.cat([tokens[:, :t], other[:, t:]], 1))
        close([part[:, :t] for part in after], [part[:, :t] for part in before], atol=1e-12)
        assert (after.out[:, t:] - before.out[:, t:]).abs().amin(0).max(-1).values.min() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_layer_looks_back_exactly_as_far_as_its_window(name):
    policy = small(name, layers=1)
    tokens, t = trials(policy, 2, 15), 12
    for back in range(t + 1):
        other = tokens.clone()
        other[:, t - back] += 1
        moved = (policy(other).out[:, t] - policy(tokens).out[:, t]).abs().max()
        assert (moved > 1e-6) == (back < WINDOW)


def test_a_row_is_read_alone_as_in_a_batch():
    policy = small()
    tokens = trials(policy, 5, 9)
    said, _ = play(policy, tokens, policy.new_cache(5, 9))
    for rows in (slice(0, 1), slice(3, 5)):
        close(policy(tokens[rows]), [part[rows] for part in policy(tokens)])
        close(
            play(policy, tokens[rows], policy.new_cache(len(tokens[rows]), 9))[0],
            [part[rows] for part in said],
        )


@pytest.mark.parametrize("name", BACKBONES)
def test_padding_and_dead_steps_change_nothing(name):
    """Rows that live through 20, 3 and 11 of 20 steps say in these what they say alone."""
    policy, steps = small(name), 20
    tokens = trials(policy, 3, steps)
    live = torch.ones(3, steps, dtype=torch.bool)
    live[1, [*range(2), *range(5, 20)]] = False
    live[2, ::2] = False
    live[2, 0] = True
    said, cache = play(policy, tokens, policy.new_cache(3, steps), live)
    assert cache.length.tolist() == [20, 3, 11]
    packed = torch.zeros_like(tokens)
    for row in range(3):
        packed[row, : cache.length[row]] = tokens[row, live[row]]
    padded = policy(packed)
    for row in range(3):
        alone = [part[0] for part in policy(tokens[row, live[row]][None])]
        close([part[row, live[row]] for part in said], alone)
        close([part[row, : cache.length[row]] for part in padded], alone)


def test_reading_writes_nothing():
    policy = small()
    tokens = trials(policy, 3, 9)
    cache = policy.new_cache(3, 20)
    for t in range(9):
        before = tree.fork(cache)
        once, twice = policy.read(tokens[:, t], cache), policy.read(tokens[:, t], cache)
        assert all(map(torch.equal, tree.leaves(cache), tree.leaves(before)))
        assert all(map(torch.equal, tree.leaves(once), tree.leaves(twice)))
        cache = write(cache, once.entry, torch.tensor([True, t % 2 == 0, False]))


def test_tokens_are_read_in_the_precision_of_the_weights():
    policy = small()
    tokens = trials(policy, 2, 3).float()
    close(policy(tokens), policy(tokens.double()))
    close(
        policy.read(tokens[:, 0], policy.new_cache(2, 3))[:2],
        [part[:, 0] for part in policy(tokens.double())],
    )


def test_reduced_precision_says_nearly_the_same():
    policy = small(dtype=torch.float32)
    tokens = trials(policy, 2, 9)
    expected = policy(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        whole, stepped = policy(tokens), play(policy, tokens, policy.new_cache(2, 9))[0]
        absorbed = policy.absorb(tokens[:, :8], policy.new_cache(2, 9))
        last = policy.read(tokens[:, 8], absorbed)
    assert whole.out.dtype == torch.bfloat16
    for said in (
        whole,
        stepped,
        (torch.cat([whole.out[:, :8], last.out[:, None]], 1), whole.value),
    ):
        close([part.float() for part in said], expected, atol=0.1)


def test_all_weights_are_trained():
    """None is counted that nothing depends on."""
    policy = small(action=PLANE)
    out, value = policy(trials(policy, 2, 5))
    (out.square().sum() + value.square().sum()).backward()
    assert all(
        weight.grad is not None and weight.grad.abs().max() > 0 for weight in policy.parameters()
    )


def test_play_starts_out_nearly_uniform():
    policy = build("llama", PLANE, Discrete(4))
    chance = policy(trials(policy, 3, 10)).out.softmax(-1)
    assert (chance - 0.25).abs().max() < 0.02
    assert abs(policy.embed.weight.std().item() * policy.layout.width**0.5 - 1) < 0.1


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_policy_is_saved_as_it_is(name, dtype, tmp_path):
    policy = small(name, dtype=dtype, action=PLANE)
    policy.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    tokens = trials(policy, 2, 9)
    for cls in (TransformerPolicy, AutoModel):
        loaded = cls.from_pretrained(tmp_path)
        assert type(loaded) is TransformerPolicy
        assert loaded.config.window == WINDOW
        assert loaded.layout == policy.layout
        assert loaded.state_dict().keys() == policy.state_dict().keys()
        assert all(map(torch.equal, loaded.state_dict().values(), policy.state_dict().values()))
        atol = (
            1e-12 if dtype == torch.float64 else 1e-5
        )  # weights lie otherwise in memory, which moves the last bit
        close(loaded(tokens), policy(tokens), atol)
        close(play(loaded, tokens, loaded.new_cache(2, 9))[0], policy(tokens), atol)
        decided = loaded.actions.decide(loaded(tokens).out[:, -1], None).action
        close([decided], [policy.actions.decide(policy(tokens).out[:, -1], None).action], atol)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {"target_modules": ["q_proj", "v_proj"]}),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    ],
)
def test_an_adapter_fits(name, options, tmp_path):
    policy, config = small(name), LoraConfig(r=4, **options)
    tokens, count = trials(policy, 2, 15), sum(p.numel() for p in policy.parameters())
    policy.save_pretrained(tmp_path / "base")
    before = policy(tokens)
    adapted = get_peft_model(policy, config).eval()
    assert all(map(torch.equal, adapted(tokens), before))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert 0 < trained < count / 2
    assert trained == sum(p.numel() for key, p in adapted.named_parameters() if "lora_" in key)
    generator = torch.Generator().manual_seed(2)
    for key, weight in adapted.named_parameters():
        if "lora_" in key:
            weight.data.normal_(generator=generator)
    after = adapted(tokens)
    assert (after.out - before.out).abs().max() > 0.1
    close(play(adapted, tokens, adapted.new_cache(2, 15))[0], after)
    adapted.save_pretrained(tmp_path / "adapter")
    base = AutoModel.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
    close(loaded(tokens), after, 1e-12)
    kept = [
        {key: weight for key, weight in model.state_dict().items() if "lora_" in key}
        for model in (loaded, adapted)
    ]
    assert kept[0].keys() == kept[1].keys()
    assert all(map(torch.equal, kept[0].values(), kept[1].values()))


def test_a_folder_of_pretrained_weights_is_a_backbone(tmp_path):
    folder, saved = tmp_path / "pretrained", tmp_path / "policy"
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = LlamaConfig(vocab_size=50, intermediate_size=32, max_position_embeddings=32, **sizes)
    original = LlamaForCausalLM(config)
    original.save_pretrained(folder)
    policy = build(str(folder), PLANE, THREE, hidden=999)
    assert policy.config.window == 32
    tokens = trials(policy, 2, 9)
    with torch.no_grad():
        hidden = original.model(inputs_embeds=policy.embed(tokens)).last_hidden_state
        close(policy(tokens)[:1], [policy.actor(hidden)], atol=1e-5)
    noisy(policy)
    tokens = tokens.double()
    close(play(policy, tokens, policy.new_cache(2, 9))[0], policy(tokens))
    policy.save_pretrained(saved)
    assert str(tmp_path) not in (saved / "config.json").read_text()
    loaded = AutoModel.from_pretrained(saved).state_dict()
    assert all(
        weight.dtype == torch.float64 and torch.equal(weight, loaded[key])
        for key, weight in policy.state_dict().items()
    )


@pytest.mark.parametrize("kind", ["beta", "clipped_gaussian"])
def test_a_saved_policy_acts_by_the_same_distribution(tmp_path, kind):
    policy, box = small(action=PLANE, distribution=kind), spaces.actions(PLANE, kind)
    policy.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    out, action = torch.tensor([[0.3, -0.2, 0.1, -0.4]]), torch.tensor([[4.0, 0.2]])
    for made in (policy, loaded):
        torch.testing.assert_close(
            made.actions.log_prob_and_entropy(out, action), box.log_prob_and_entropy(out, action)
        )


def test_another_model_made_of_its_config_changes_no_policy():
    policy = small()
    tokens = trials(policy, 2, 9)
    AutoModel.from_config(policy.config.backbone_config, attn_implementation="eager")
    close(play(policy, tokens, policy.new_cache(2, 9))[0], policy(tokens))


@pytest.mark.parametrize("name", ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()])
def test_outputs_are_the_same_whatever_attention_is_asked_for_or_it_is_refused(name, tmp_path):
    """Set on a loaded policy, ``eager`` lost the window and changed outputs by 2 to 4."""
    policy = small(dtype=torch.float32)
    tokens = trials(policy, 2, 20)
    policy.save_pretrained(tmp_path)

    def says(given):
        close(given(tokens), policy(tokens), 1e-5)
        close(play(given, tokens, given.new_cache(2, 20))[0], policy(tokens), 1e-5)

    def on_the_policy():
        given = copy.deepcopy(policy)
        given.set_attn_implementation(name)
        says(given)

    def on_its_backbone():
        given = copy.deepcopy(policy)
        given.backbone.set_attn_implementation(name)
        says(given)

    def read(cls=TransformerPolicy):
        says(cls.from_pretrained(tmp_path, attn_implementation=name))

    for attempt in (on_the_policy, on_its_backbone):
        if name == ATTENTION:
            attempt()
        else:
            with pytest.raises(
                (UserError, ImportError, ValueError), match=r"attends by 'metabridge' alone|Flash"
            ):
                attempt()
    for cls in (TransformerPolicy, AutoModel):
        with contextlib.suppress(ValueError, ImportError):
            read(cls)


def test_attention_is_set_back():
    policy = small()
    tokens = trials(policy, 2, 9)
    before = policy(tokens)
    policy.backbone.set_attn_implementation("eager")
    with pytest.raises(
        UserError, match=r"policy\.backbone\.set_attn_implementation\('metabridge'\)"
    ):
        policy.read(tokens[:, 0], policy.new_cache(2, 9))
    policy.backbone.set_attn_implementation("metabridge")
    assert torch.equal(policy(tokens).out, before.out)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 65])
def test_a_window_that_the_positions_do_not_allow(window):
    with pytest.raises(UserError, match=f"2 to 64 tokens .* found {window}"):
        small(window=window)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    small(dtype=torch.float32).save_pretrained(folder)
    return folder


IMPOSSIBLE = {
    "window": ({"window": 1}, {"window": 0}, {"window": -3}, {"window": 65}),
    "hidden_size": ({"hidden_size": 0}, {"hidden_size": None}),
    "hidden size": ({"hidden_size": 15},),
    "num_attention_heads": ({"num_attention_heads": 0}, {"num_attention_heads": -2}),
    "heads|multiple": ({"num_attention_heads": 3},),
    "num_key_value_heads": (
        {"num_key_value_heads": 0},
        {"num_attention_heads": 4, "num_key_value_heads": 3},
    ),
    "head_dim|even size": ({"head_dim": 0}, {"head_dim": 3}),
    "num_hidden_layers": ({"num_hidden_layers": 0}, {"num_hidden_layers": -1}),
    "intermediate_size": ({"intermediate_size": 0},),
    "max_position_embeddings": ({"max_position_embeddings": 0},),
    "sliding_window": ({"sliding_window": 0}, {"sliding_window": -1}),
    "rope_theta": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": value}}
        for value in (float("nan"), 0.0)
    ),
    "factor": ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0}},),
    "rotary positions": (
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ),
    "rms_norm_eps": ({"rms_norm_eps": float("nan")}, {"rms_norm_eps": -1.0}),
    "kind of decoder": ({"model_type": "bert"}, {"model_type": None}),
    "A space is": (
        {"action": {"n": 0}},
        {"action": {"n": 3, "m": 1}},
        {"observation": {"low": [0.0], "high": [1.0, 2.0]}},
        {"observation": {"low": [2.0], "high": [1.0]}},
        {"observation": {"low": [float("nan")], "high": [1.0]}},
    ),
}
OF_THE_POLICY = ("window", "action", "observation")


@pytest.mark.parametrize(
    ("told", "fields"), [(told, fields) for told, all_ in IMPOSSIBLE.items() for fields in all_]
)
def test_a_config_that_makes_no_policy_is_refused_by_name(told, fields, saved, tmp_path):
    """In a file, as a field that from_pretrained sets, and by the one reader of ours."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    own = {name: value for name, value in fields.items() if name in OF_THE_POLICY}
    decoder = {name: value for name, value in fields.items() if name not in OF_THE_POLICY}
    if own:
        with pytest.raises(UserError, match=told):
            TransformerPolicy.from_pretrained(tmp_path, **fields)
    path.write_text(
        json.dumps(about | own | {"backbone_config": about["backbone_config"] | decoder})
    )
    for read in (TransformerPolicy.from_pretrained, AutoModel.from_pretrained, base_policy.read):
        with pytest.raises(UserError, match=told):
            read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("window", 2.5, "A window needs 2 to 64 tokens here.*found 2.5"),
        ("window", "8", "found '8'"),
        ("distribution", "cauchy", "Unknown distribution of actions 'cauchy'"),
        ("action", [], "A space is"),
    ],
)
def test_fields_that_were_set_later_are_checked(name, value, told):
    config = small().config
    setattr(config, name, value)
    with pytest.raises(UserError, match=told):
        TransformerPolicy(config)


def test_so_are_those_of_its_decoder():
    config = small().config
    config.backbone_config.num_key_value_heads = 3
    with pytest.raises(UserError, match="num_key_value_heads that divide 2; found 3"):
        TransformerPolicy(config)


def test_a_folder_with_more_weights_than_its_config_says_is_refused(tmp_path):
    """transformers leaves the second layer out without an error."""
    small(dtype=torch.float32).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    about["backbone_config"]["num_hidden_layers"] = 1
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"its config\.json has no place for backbone\.layers\.1\."):
        base_policy.read(tmp_path)


def test_no_policy_has_dropout(tmp_path):
    small("gpt2", dtype=torch.float32).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    about = json.loads(path.read_text())
    about["backbone_config"] |= {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5}
    path.write_text(json.dumps(about))
    policy = TransformerPolicy.from_pretrained(tmp_path).train()
    tokens = trials(policy, 2, 5)
    assert torch.equal(policy(tokens).out, policy(tokens).out)


def test_learned_positions_end():
    policy = small("gpt2", positions=8)
    tokens, refused = trials(policy, 2, 9), "8 learned positions; this trial has 9 steps"
    with pytest.raises(UserError, match=refused):
        policy.new_cache(2, 9)
    with pytest.raises(UserError, match=refused):
        policy(tokens)
    _, cache = play(policy, tokens, policy.new_cache(2, 8))
    with pytest.raises(UserError, match=refused):
        policy.read(tokens[:, 8], cache)


def test_rotary_positions_do_not():
    policy = small("llama", positions=8)
    assert policy(trials(policy, 2, 30)).out.shape == (2, 30, 3)


def test_a_cache_that_is_too_short_is_told():
    """Without this, it would slide sooner than in training."""
    policy = small(window=20)
    tokens = trials(policy, 2, 5)
    caches = (
        play(policy, tokens, policy.new_cache(2, 4))[1],
        policy.absorb(tokens, policy.new_cache(2, 4)),
    )
    for cache in caches:
        with pytest.raises(
            ContractError, match=r"trials of 4 tokens was given 5 .* the window is 20"
        ):
            policy.read(tokens[:, 4], cache)


@pytest.mark.parametrize("name", BACKBONES)
def test_rows_that_have_lived_their_trial_stand_by(name):
    """The first row has read all that its trial has, and more than its window; the second goes on to the same end."""
    policy = small(name, positions=8)
    tokens = trials(policy, 2, 8)
    live = torch.tensor([[True] * 8 + [False] * 8, [False] * 8 + [True] * 8])
    said, _ = play(policy, torch.cat([tokens, tokens], 1), policy.new_cache(2, 8), live)
    close([part[0, :8] for part in said], [part[0] for part in policy(tokens)])
    close([part[1, 8:] for part in said], [part[1] for part in policy(tokens)])
    cache = policy.absorb(tokens, policy.new_cache(2, 8), torch.tensor([7, 0]))
    cache = policy.absorb(tokens.roll(1, 1), cache, torch.tensor([1, 8]))
    assert cache.length.tolist() == [8, 8]


def test_a_config_is_json(tmp_path):
    small().config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["backbone_config"]["model_type"] == "llama"
    assert saved["observation"] == {"low": [0.0, -1.0], "high": [4.0, 1.0]}
    assert AutoConfig.from_pretrained(tmp_path).window == WINDOW
