"""Fingerprints of policies, in any precision."""

import hashlib

import pytest
import torch

from bridge.protocol import Card
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from experiments import collecting
from llm_adapt import low_rank, trainable
from llm_adapt.base_policy import fingerprint
from llm_adapt.in_context import InContext
from llm_adapt.policy import TransformerPolicy, build


def policy(dtype: torch.dtype) -> TransformerPolicy:
    with seeded_init(0):
        return (
            build("llama", Discrete(4), Discrete(3), hidden=16, layers=1, heads=2, window=16)
            .to(dtype)
            .eval()
        )


def test_a_fingerprint_in_single_precision_is_what_it_was():
    """Adapters name their base by it."""
    made, digest = policy(torch.float32), hashlib.sha256()
    for name, weights in sorted(made.state_dict().items()):
        digest.update(name.encode() + weights.numpy().tobytes())
    assert fingerprint(made) == f"metabridge_policy {digest.hexdigest()[:16]}"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_a_fingerprint_and_adapters(dtype, tmp_path):
    base, other = policy(dtype), policy(dtype)
    assert fingerprint(base) == fingerprint(other)
    with torch.no_grad():
        other.actor.bias[0] += 1
    assert fingerprint(base) != fingerprint(other)
    trainable.Trainable(rank=2).begin(base, seed=0).save(tmp_path)
    assert low_rank.load(base, tmp_path)[1].down.popitem()[1].dtype == dtype
    trainable.load(base, tmp_path)


def test_the_digest_of_a_source_in_half_precision_follows_its_weights():
    agent = InContext(policy(torch.bfloat16), Card(method="x"))
    same = collecting.digest_of(InContext(policy(torch.bfloat16), Card(method="y")))
    assert collecting.digest_of(agent) == same
    assert len(same) == 8
    with torch.no_grad():
        agent.policy.actor.bias[0] += 1
    assert collecting.digest_of(agent) != same
