"""The four sizes of a comparison.

The trials, splits and tracks of ``smoke`` and ``quick`` are fixed: results of two days must mean the same. A change
gives the size another ``version``, which all rows and ``plan.json`` name. Any method can be named in place of a size's
own (``--methods``).

Times are those of two cores, without installation: smoke takes under a minute and quick nine minutes (measured), small
about ten hours and full about nine days (reckoned from rates of training: 50,000 steps a second and core on policy, 900
off policy). A comparison can be stopped and taken up again; what is done is not done again.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.evaluation.plan import Track
from experiments import registry

_REFERENCES = (
    "random",
    "oracle",
    "blind",
    "bayes",
    "bayes_train",
    "gittins",
    "ucb1",
    "thompson",
    "greedy",
    "epsilon_greedy",
    "psrl",
    "opsrl",
    "ucrl2",
    "beb",
    "search",
)
PLAYED = tuple(name for name in _REFERENCES if name not in ("opsrl", "ucrl2", "beb"))
"""The references that play fast."""
_CLASSICAL = ("rl2", "pearl", "maml", "mtrl", "mtrl_finetune")
_TRANSFORMERS = ("icl_rl", "icl_dpt", "icl_ad", "mt", "lora_maml")
_LEARNED = (*_CLASSICAL, *_TRANSFORMERS)
ZOO = (
    *(f"zoo:{name}" for name in _LEARNED),
    *(f"lora_reward:run=zoo:{base}" for base in ("icl_rl", "mt")),
    "icl_then_lora:run=zoo:icl_rl",
    *(f"lora_demos:run=zoo:{base}" for base in ("icl_rl", "icl_dpt", "icl_ad", "mt")),
)
"""Every learned kind, by runs that ship."""


def share(method: str) -> float:
    """Return the share of a budget in environment steps that a learned method gets (``pearl:latent=4``)."""
    entry = registry.LEARNERS.get(registry.name_of(method))
    return entry.budget_share if entry else 1.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """The contents of a comparison of one size."""

    version: int = 1
    families: tuple[str, ...]
    methods: tuple[str, ...]
    splits: tuple[str, ...]
    """Split names or patterns, as ``compare --splits`` takes them; what a family does not have is passed over there."""
    trials: dict[str, int]
    """Trials of a split by family name."""
    seeds: tuple[int, ...]
    """Training seeds of learned methods, and of the zoo's runs that take gradient steps in every trial."""
    budget: dict[str, int]
    """Environment steps that learned methods are trained for, inner loops and data included, by family name."""
    trained_on: tuple[str, ...] | None = None
    """Names of the families on which the size's own methods are trained; None: all. Runs that ship play on all."""
    tracks: tuple[Track, ...] = ("O",)
    shots: int = 0
    """Tracks C and F: episodes of context or adaptation; 0: the whole trial."""
    behaviour: str = ""
    """The agent that makes the context of track C; empty: random."""
    tuning_configs: int = 1
    """Configurations of every learned method that are trained for as long and scored on id_val; 1: the defaults."""

    def steps(self, family: str, method: str) -> int:
        """Return the budget of a learned method on a family: the smallest if the family is not listed.

        Slower methods have a share of it, so that all take about as long.
        """
        steps = self.budget.get(family, min(self.budget.values()))
        return round(share(method) * steps)

    def trials_of(self, family: str) -> int:
        """Return the trials of a split of a family: the fewest if the family is not listed."""
        return self.trials.get(family, min(self.trials.values()))


SIZES: dict[str, Size] = {
    "smoke": Size(
        families=("bandit:k=5,n=10",),
        methods=("random", "bayes", "bayes_train", "ucb1", "rl2"),
        splits=("id", "shift/prior"),
        trials={"bandit": 20_000},
        seeds=(0,),
        budget={"bandit": 1_000_000},
    ),
    "quick": Size(
        version=2,
        families=(
            "bandit:k=5,n=10", "gridnavi", "darkroom:episodes=10,variant=ad,train=inner", "point_nav:episodes=8",
        ),
        methods=(*PLAYED, "rl2", "icl_rl", *ZOO),
        splits=(
            "id", "shift/reward_scale/4", "shift/action_permutation/4", "shift/slip/4", "bandit:shift/reward_sign/4",
            "bandit:shift/prior/4", "point_nav:shift/reward_sign/4", "point_nav:shift/ring/4",
        ),
        trials={"bandit": 512, "gridnavi": 105, "darkroom": 40, "point_nav": 16},
        seeds=(0,),
        budget={
            "bandit": 1_000_000, "tabular_mdp": 500_000, "gridnavi": 1_000_000, "darkroom": 200_000,
        },
        trained_on=("bandit",),
        tracks=("O", "C"),
        shots=1,
        behaviour="oracle",
    ),
    "small": Size(
        families=(
            "bandit:k=5,n=10", "bandit:k=5,n=100", "bandit:k=2,n=100,arms=dependent_medium",
            "bandit:k=5,n=100,arms=gaussian", "tabular_mdp", "gridnavi", "gridnavi:train=inner", "darkroom",
            "darkroom:train=inner", "darkroom:train=hole", "darkroom:variant=ad", "point_nav", "sparse_point",
        ),
        methods=_REFERENCES + _LEARNED,
        splits=("id", "shift"),
        trials={
            "bandit": 20_000, "tabular_mdp": 4_000, "gridnavi": 20_000, "darkroom": 2_000, "point_nav": 1_000,
            "sparse_point": 4_000,
        },
        seeds=(0, 1, 2),
        budget={
            "bandit": 5_000_000, "tabular_mdp": 5_000_000, "gridnavi": 5_000_000, "darkroom": 5_000_000,
            "point_nav": 5_000_000, "sparse_point": 10_000_000,
        },
        tuning_configs=4,
    ),
    "full": Size(
        families=(
            "bandit:k=5,n=10", "bandit:k=10,n=10", "bandit:k=50,n=10", "bandit:k=5,n=100", "bandit:k=10,n=100",
            "bandit:k=50,n=100", "bandit:k=2,n=100,arms=dependent_uniform", "bandit:k=2,n=100,arms=dependent_easy",
            "bandit:k=2,n=100,arms=dependent_medium", "bandit:k=2,n=100,arms=dependent_hard",
            "bandit:k=5,n=500,arms=gaussian", "tabular_mdp", "tabular_mdp:n=25", "gridnavi", "gridnavi:train=inner",
            "darkroom", "darkroom:train=inner", "darkroom:train=hole", "darkroom:variant=ad",
            "darkroom:variant=ad,train=inner", "darkroom:variant=ad,train=hole", "point_nav", "point_nav:variant=paper",
            "point_nav:variant=code", "sparse_point", "sparse_point:variant=dense",
        ),
        methods=_REFERENCES + _LEARNED,
        splits=("id", "shift"),
        trials={
            "bandit": 200_000, "tabular_mdp": 20_000, "gridnavi": 20_000, "darkroom": 20_000, "point_nav": 4_000,
            "sparse_point": 20_000,
        },
        seeds=tuple(range(10)),
        budget={
            "bandit": 20_000_000, "tabular_mdp": 25_000_000, "gridnavi": 10_000_000, "darkroom": 20_000_000,
            "point_nav": 10_000_000, "sparse_point": 12_000_000,
        },
        tuning_configs=8,
    ),
}  # fmt: skip
"""Size by name."""
