"""What a registry entry states of its method's agents."""

import pytest

from experiments.registry import LEARNERS


@pytest.mark.parametrize(
    ("method", "adapts"),
    [
        ("icl_rl", "context"),
        ("pearl", "context"),
        ("maml", "gradient"),
        ("lora_maml", "gradient"),
        ("lora_reward_mt", "gradient"),
        ("lora_reward_icl_rl", "context, gradient"),
        ("mt", "nothing"),
        ("mtrl", "nothing"),
    ],
)
def test_agents_adapt_by_what_they_read_and_by_their_steps(method, adapts):
    assert LEARNERS[method].adapts == adapts
