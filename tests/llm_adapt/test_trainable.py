"""What is tuned: nothing changes before training, only what is named moves, and files say what was tuned."""

import copy
import json

import peft
import pytest
import torch
from transformers import AutoModel

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt import base_policy, low_rank, trainable
from llm_adapt.base_policy import fingerprint
from llm_adapt.policy import TransformerPolicy, build
from llm_adapt.trainable import Finetuned, Trainable

KINDS = ("lora", "ia3", "head", "full", "prompt")
NAMED = {
    ("lora", "llama"): ("q_proj.lora_", "v_proj.lora_"),
    ("lora", "gpt2"): ("attn.c_attn.lora_",),
    ("ia3", "llama"): ("k_proj.ia3_l", "v_proj.ia3_l", "mlp.down_proj.ia3_l"),
    ("ia3", "gpt2"): ("attn.c_attn.ia3_l", "mlp.c_proj.ia3_l"),
    ("head", "llama"): ("actor.weight", "actor.bias"),
    ("prompt", "llama"): ("prompt",),
}


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


def ranked(kind: trainable.Kind, rank: int) -> Trainable:
    """Of a rank, where the tuner has one."""
    return Trainable(tuner=kind, rank=rank) if kind in ("lora", "prompt") else Trainable(tuner=kind)


def trained(kind: trainable.Kind, base: TransformerPolicy) -> Finetuned:
    """Some steps to somewhere else."""
    tuned = ranked(kind, 3).begin(base, seed=0)
    optimizer = torch.optim.Adam(tuned.learned.values(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        out = tuned.policy(tokens(base)).out
        (out.square().mean() - out[..., 0].mean()).backward()
        optimizer.step()
    return tuned


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_untrained_it_is_the_base_bit_for_bit_in_files_too(kind, name, tmp_path):
    base = policy(name)
    tuned = ranked(kind, 2).begin(base, seed=0)
    plain = base(tokens(base)).out
    assert torch.equal(tuned.policy(tokens(base)).out, plain)
    tuned.save(tmp_path)
    assert torch.equal(trainable.load(base, tmp_path)(tokens(base)).out, plain)


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_only_what_is_named_moves_and_the_base_does_not(kind, name):
    base = policy(name)
    before, start = fingerprint(base), ranked(kind, 3).begin(base, seed=0).policy.state_dict()
    tuned = trained(kind, base)
    assert fingerprint(base) == before
    moved = {
        key
        for key, value in tuned.policy.state_dict().items()
        if not torch.equal(value, start[key])
    }
    assert moved == tuned.learned.keys()
    ends = {end for end in NAMED[kind, name] if any(end in key for key in moved)}
    assert ends == set(NAMED[kind, name])
    assert all(any(end in key for end in ends) for key in moved)


def test_full_is_all_but_the_value_that_nobody_asks_for():
    base = policy()
    learned = Trainable(tuner="full").begin(base, seed=0).learned
    assert learned.keys() == {
        name for name, _ in base.named_parameters() if not name.startswith("critic.")
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_is_read_is_what_was_tuned(kind, name, tmp_path):
    base = policy(name)
    tuned = trained(kind, base)
    tuned.save(tmp_path)
    read, given = trainable.load(base, tmp_path), tokens(base)
    torch.testing.assert_close(read(given).out, tuned.policy(given).out, atol=1e-5, rtol=0)
    assert (read(given).out - base(given).out).abs().max() > 0.05
    assert not any("lora" in key or "ia3" in key for key in read.state_dict()), (
        "it plays without adapters"
    )


@pytest.mark.parametrize("kind", ["lora", "ia3"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore")
def test_peft_opens_an_adapter_by_its_own_means(kind, name, tmp_path):
    base = policy(name)
    tuned = trained(kind, base)
    base.save_pretrained(tmp_path / "base")
    tuned.save(tmp_path)
    theirs = peft.PeftModel.from_pretrained(
        AutoModel.from_pretrained(tmp_path / "base"), str(tmp_path)
    )
    given = tokens(base)
    torch.testing.assert_close(theirs(given).out, tuned.policy(given).out, atol=1e-5, rtol=0)
    if kind == "lora":
        setting, adapters = low_rank.load(base, tmp_path)
        with setting.on(base, adapters):
            torch.testing.assert_close(base(given).out, tuned.policy(given).out, atol=1e-5, rtol=0)


def test_new_weights_are_a_function_of_the_seed_and_no_generator_moves(tmp_path):
    base, before = policy(), torch.get_rng_state()
    one, same, other = (Trainable(rank=2).begin(base, seed=seed).learned for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    for kind in KINDS:
        tuned = ranked(kind, 2).begin(base, seed=0)
        tuned.save(tmp_path / kind)
        trainable.load(base, tmp_path / kind)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": "query"}, r"no module 'query'.*There are: down_proj, gate_proj, k_proj"),
        ({"targets": "query", "tuner": "ia3"}, r"no module 'query'.*There are: down_proj"),
        ({"rank": 17}, "rank=17 does not fit .* 16 x 16. Choose one from 1 to 16"),
        ({"rank": 0}, "rank must be 1 or more; found 0"),
        ({"rank": 16, "tuner": "prompt"}, "needs 1 to 15 vectors here"),
        (
            {"rank": 4, "targets": "q_proj", "tuner": "head"},
            "rank, targets: not for head. Leave it out",
        ),
        ({"alpha": 4, "tuner": "prompt"}, "alpha: not for prompt"),
        ({"rank": 4, "tuner": "ia3"}, "rank: not for ia3"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Trainable(**settings).begin(policy(), seed=0)


@pytest.mark.parametrize("kind", ["lora", "ia3", "prompt"])
def test_an_adapter_of_another_base_is_refused(kind, tmp_path):
    trained(kind, policy()).save(tmp_path)
    with pytest.raises(
        UserError,
        match=r"an adapter of the policy metabridge_policy .* Load the adapter.s own base",
    ):
        trainable.load(policy(seed=1), tmp_path)


def test_an_adapter_that_peft_has_trained_is_known_by_the_folder_of_its_base(tmp_path):
    """peft writes down where a base was read from, and nothing of one that was not."""
    for seed in (0, 1):
        policy(seed=seed).save_pretrained(tmp_path / f"base-{seed}")
        base = AutoModel.from_pretrained(tmp_path / f"base-{seed}")
        peft.get_peft_model(base, peft.LoraConfig(target_modules=["v_proj"])).save_pretrained(
            str(tmp_path / f"{seed}")
        )
    peft.get_peft_model(policy(), peft.LoraConfig(target_modules=["v_proj"])).save_pretrained(
        str(tmp_path / "nameless")
    )
    for load in (trainable.load, low_rank.load):
        load(policy(), tmp_path / "0")
        with pytest.raises(UserError, match="Load the adapter's own base"):
            load(policy(), tmp_path / "1")
        with pytest.raises(UserError, match=r'write "base_model_name_or_path": "metabridge_policy'):
            load(policy(), tmp_path / "nameless")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_damaged_files_are_refused(kind, tmp_path):
    base = policy()
    trained(kind, base).save(tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    for damage in (file.write_bytes, lambda _: file.unlink()):
        damage(b"\x00" * 64)
        with pytest.raises(UserError, match=r"that can be read|has no adapter_model.safetensors"):
            trainable.load(base, tmp_path)


def test_a_policy_that_lacks_weights_is_refused(tmp_path):
    base = policy()
    kept = {name: weights for name, weights in base.state_dict().items() if name != "actor.weight"}
    copy.deepcopy(base).save_pretrained(tmp_path, state_dict=kept)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "metabridge_policy"
    with pytest.raises(UserError, match=r"it lacks actor\.weight"):
        base_policy.read(tmp_path)
