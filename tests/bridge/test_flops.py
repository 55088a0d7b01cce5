"""Operations are counted in full: what torch's counter passes over is told to it."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from bridge.flops import counter
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt.policy import TransformerPolicy, build

ROWS, STEPS, HIDDEN, LAYERS, FEEDFORWARD = 3, 50, 32, 2, 128


def policy(window: int) -> TransformerPolicy:
    with seeded_init(0):
        return build(
            "llama", Discrete(4), Discrete(3), hidden=HIDDEN, layers=LAYERS, heads=4, window=window
        )


@pytest.mark.parametrize("window", [64, 8])  # the second with a mask
def test_operations_of_a_transformer_are_those_of_its_products_and_its_attention(window):
    """A multiplication and an addition are two."""
    made = policy(window)
    tokens = torch.zeros(ROWS, STEPS, made.layout.width)
    feedforward = made.config.backbone_config.intermediate_size
    layer = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * feedforward + 2 * STEPS * HIDDEN
    wanted = 2 * ROWS * STEPS * (made.layout.width * HIDDEN + LAYERS * layer + HIDDEN * (3 + 1))
    with torch.no_grad(), counter() as counted:
        made(tokens)
    assert counted.get_total_flops() == wanted


def test_gradients_through_attention_are_counted_too():
    """Fused, it computes weights once more than in the plain form: half as many operations as going forward."""
    made, attention = policy(64), 4 * ROWS * STEPS * STEPS * HIDDEN * LAYERS
    tokens, found = torch.zeros(ROWS, STEPS, made.layout.width), {}
    for kind in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with sdpa_kernel(kind), counter() as counted:
            made(tokens).out.sum().backward()
        found[kind] = counted.get_total_flops()
    assert found[SDPBackend.FLASH_ATTENTION] == found[SDPBackend.MATH] + attention // 2
