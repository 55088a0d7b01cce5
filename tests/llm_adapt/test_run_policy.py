"""Run folders, as transformers reads them: the policy with which the run is played, and no other."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from bridge.errors import UserError
from bridge.tasks import family as make_family
from bridge.tasks.base import SUITE_VERSION
from bridge.training import run_folder
from bridge.training.budget import Cost
from llm_adapt import base_policy, icl_rl, lora_maml, run_policy
from llm_adapt.policy import TransformerPolicy, TransformerPolicyConfig

FAMILY = make_family("bandit:k=3,n=6")
SMALL = {"hidden": 8, "layers": 1, "heads": 2, "window": 16, "steps_per_update": 60}
KINDS = {
    "icl_rl": lambda seed: icl_rl.IclRlLearner(
        FAMILY, icl_rl.Config(**SMALL, minibatches=1), seed=seed
    ),
    "lora_maml": lambda seed: lora_maml.LoraMamlLearner(
        FAMILY, lora_maml.Config(**SMALL, minibatches=1), seed=seed
    ),
}


def policy_of(learner):
    return learner.base.policy if hasattr(learner, "base") else learner.policy


def save(folder, learner):
    """A run folder with one more checkpoint."""
    if not folder.exists():
        about = {"suite_version": SUITE_VERSION, "config": {"lr": 0.1}, "seed": 5}
        run_folder.claim(folder, about | run_policy.describe(learner), resume=False)
    run_folder.save(folder, learner, Cost(), 1.0)


def tokens(policy):
    return torch.rand(3, 7, policy.layout.width, generator=torch.Generator().manual_seed(0))


def same(one, other):
    """True if two policies have equal weights and outputs, bitwise."""
    assert one.state_dict().keys() == other.state_dict().keys()
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    out, value = one(tokens(one))
    theirs, their_value = other(tokens(one))
    return (
        all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)
        and torch.equal(out, theirs)
        and torch.equal(value, their_value)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_folder_opens_as_the_policy_that_it_holds(kind, tmp_path):
    learner = KINDS[kind](3)
    learner.update()
    save(tmp_path / "run", learner)
    for place in (tmp_path / "run", str(tmp_path / "run")):
        found = AutoModel.from_pretrained(place)
        assert type(found) is TransformerPolicy
        assert same(found, policy_of(learner))
        assert not same(found, policy_of(KINDS[kind](4)))
        assert not found.training
    assert found.name_or_path == found.config.name_or_path == str(tmp_path / "run")


def test_the_last_checkpoint_counts_and_the_model_where_there_is_none(tmp_path):
    learner, folder = KINDS["icl_rl"](3), tmp_path / "run"
    learner.update()
    save(folder, learner)
    run_folder.save_model(folder, learner)
    learner.update()
    save(folder, learner)
    assert same(AutoModel.from_pretrained(folder), policy_of(learner))
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    assert not same(AutoModel.from_pretrained(folder), policy_of(learner))


def test_half_precision_weights_open_in_full_precision_as_they_are_played(tmp_path):
    learner = KINDS["icl_rl"](3)
    save(tmp_path / "run", learner)
    run_folder.export(tmp_path / "run", tmp_path / "half", learner, {})
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert weights["state.policy.actor.weight"].dtype == torch.float16
    assert run_folder.restore_agent(tmp_path / "half", learner, print)
    assert same(AutoModel.from_pretrained(tmp_path / "half"), policy_of(learner))
    half = AutoModel.from_pretrained(tmp_path / "half", dtype=torch.float16)
    assert half.actor.weight.dtype == torch.float16


def test_what_transformers_offers_holds_for_run_folders(tmp_path):
    learner, folder = KINDS["icl_rl"](3), tmp_path / "run"
    save(folder, learner)
    run_folder.save_model(folder, learner)
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, TransformerPolicyConfig)
    assert config.window == 16
    assert not hasattr(config, "seed"), "a key of the run, not of the policy"
    assert TransformerPolicy.from_pretrained(folder, window=8).config.window == 8
    found, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys"))
    found.save_pretrained(tmp_path / "saved")
    assert same(AutoModel.from_pretrained(tmp_path / "saved"), policy_of(learner))
    assert same(base_policy.read(folder), policy_of(learner))


def test_a_fresh_interpreter_opens_it_after_one_import_and_offline(tmp_path):
    learner = KINDS["icl_rl"](3)
    save(tmp_path / "run", learner)
    script = """
import sys, torch
import llm_adapt.policy
from transformers import AutoModel
policy = AutoModel.from_pretrained(sys.argv[1])
torch.save(policy.state_dict(), sys.argv[2])
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "weights.pt")],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    found = torch.load(tmp_path / "weights.pt", weights_only=True)
    ours = policy_of(learner).state_dict()
    assert found.keys() == ours.keys()
    assert all(torch.equal(weights, ours[name]) for name, weights in found.items())


def test_a_run_without_a_checkpoint_is_refused_with_the_remedy(tmp_path):
    about = {"suite_version": SUITE_VERSION} | run_policy.describe(KINDS["icl_rl"](0))
    run_folder.claim(tmp_path / "run", about, resume=False)
    with pytest.raises(UserError, match=r"has no checkpoint to open.*--resume"):
        AutoModel.from_pretrained(tmp_path / "run")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    save(tmp_path / "run", KINDS["icl_rl"](0))
    (path,) = (tmp_path / "run" / "checkpoints").iterdir()
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        AutoModel.from_pretrained(tmp_path / "run")


def test_a_state_of_another_version_is_refused(tmp_path):
    learner = KINDS["icl_rl"](0)
    learner.checkpointed = ("critic",)
    save(tmp_path / "run", learner)
    with pytest.raises(UserError, match=r"another version of its method.*Train it again"):
        AutoModel.from_pretrained(tmp_path / "run")


def test_learners_of_other_policies_have_no_keys():
    class Learner:
        policy = torch.nn.Linear(2, 2)

    assert run_policy.describe(Learner()) == {}
    assert run_policy.describe(object()) == {}


def test_the_keys_do_not_say_which_run_a_folder_holds(tmp_path):
    """A run that was begun before there were such keys goes on, and so it does with another version of transformers."""
    learner, folder = KINDS["icl_rl"](0), tmp_path / "run"
    about = {"suite_version": SUITE_VERSION, "seed": 1, "method": "icl_rl"}
    run_folder.claim(folder, about, resume=False)
    keys = run_policy.describe(learner)
    run_folder.claim(folder, about | keys, resume=True)
    config = json.loads((folder / "config.json").read_text())
    keys["policy"]["transformers_version"] = "4.0.0"
    (folder / "config.json").write_text(json.dumps(config | keys))
    run_folder.claim(folder, about | run_policy.describe(learner), resume=True)
    with pytest.raises(UserError, match="its seed is 1"):
        run_folder.claim(folder, about | {"seed": 2}, resume=True)
