"""The cost of a learning rate four times as large, beside that to RL²."""

from experiments.studies.claims.claim import Claim, above
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player


def _fall(method: str, rate: float) -> Less:
    """The score that four times the learning rate costs, at a quarter of the budget."""
    slow, fast = (Player(method, settings=f"lr={lr:g}", share=0.25) for lr in (rate, 4 * rate))
    return Less(Score(slow), Score(fast))


CLAIM = Claim(
    statement="The meta-gradient is unstable: four times the learning rate costs MAML more than it costs RL².",
    test=above(Less(_fall("maml", 3e-3), _fall("rl2", 5e-3)), 0.05),
    prediction="refuted",
    because="Its outer step is PPO's clipped one here, with gradients scaled down to norm 1.",
)
