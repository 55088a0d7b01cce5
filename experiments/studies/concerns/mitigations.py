"""Mitigations: settings of multi-task RL, each for one concern, and what each is tuned by."""

from __future__ import annotations

from typing import NamedTuple

from experiments.studies.concerns.testbeds import Testbed

STRENGTHS = (0.1, 1.0, 10.0)
"""Weights of earlier tasks' losses that are tried instead of learning rates, at the second one."""


class Mitigation(NamedTuple):
    """Settings on top of a testbed's."""

    name: str
    concern: str = ""
    """The one that it is for."""
    settings: str = ""
    widened: int = 1
    """Factor on the number of hidden units."""
    together: bool = False
    """True if it trains on all tasks at once in a testbed that has them in sequence."""

    def configurations(self, testbed: Testbed) -> tuple[float, ...]:
        """Return the values of what it is tuned by: strengths of what keeps earlier tasks, or learning rates.

        Wider networks have lower rates: Adam's best one falls as the width grows.
        """
        if "keep=" in self.settings:
            return STRENGTHS
        return tuple(rate / self.widened for rate in testbed.rates)

    def also(self, settings: str) -> Mitigation:
        """Return it with more settings."""
        return self._replace(settings=",".join(filter(None, (self.settings, settings))))

    def spec(self, testbed: Testbed, tuned: float) -> str:
        """Return the method with its settings on a testbed, in one of the configurations."""
        pairs = f"hidden=64,{testbed.settings},{self.settings}".split(",")
        settings = dict(pair.split("=") for pair in pairs if pair)
        settings["hidden"] = str(self.widened * int(settings["hidden"]))
        if "keep" in settings:
            settings |= {"lr": f"{testbed.rates[1]:g}", "strength": f"{tuned:g}"}
        else:
            settings["lr"] = f"{tuned:g}"
        given = ",".join(f"{key}={value}" for key, value in sorted(settings.items()))
        return f"{testbed.together if self.together else testbed.method}:{given}"


PLAIN = Mitigation("plain")
"""The mean of the tasks' losses; in a sequence, fine-tuning."""
SPECIALISTS = Mitigation("specialists", settings="shared=nothing", together=True)
"""The bound: a network of its own for each task, all trained at once."""

_IMBALANCE, _INTERFERENCE = "task imbalance", "gradient interference"
_CAPACITY, _FORGETTING = "capacity limits", "catastrophic interference"
_RETURN_SCALED = Mitigation("return_scaled", _IMBALANCE, "combine=return_scaled")
_SCALES = (Mitigation("standardised", _IMBALANCE, "advantages=standardised"), _RETURN_SCALED)
_OPPOSED = (Mitigation("ids hidden", "(control)", "hidden_ids=1"),)
"""No mitigation: a policy that is not given the task cannot tell opposite ones apart, whatever its gradients do."""
_TOGETHER = (
    Mitigation("grad_norm", _IMBALANCE, "combine=grad_norm"),
    Mitigation("heads", _INTERFERENCE, "shared=trunk"),
    *(
        Mitigation(name, _INTERFERENCE, f"combine={name}")
        for name in ("pcgrad", "upgrad", "mgda", "cagrad")
    ),
    Mitigation("wide", _CAPACITY, widened=4),
    Mitigation("deep", _CAPACITY, "layers=4"),
    *(
        Mitigation(name, _CAPACITY, f"network={name}")
        for name in ("film", "experts", "moore", "soft_modules")
    ),
)
_MORE_SURGERY = tuple(
    Mitigation(name, _INTERFERENCE, f"combine={name}")
    for name in ("aligned_mtl", "dual_proj", "fair_grad", "nash_mtl")
)
_IN_SEQUENCE = (
    *(Mitigation(name, _FORGETTING, f"keep={name}") for name in ("ewc", "replay", "distil")),
    Mitigation("together", _FORGETTING, together=True),
)


_SAC = (
    Mitigation("scaled", _IMBALANCE, "rewards=scaled,temperature=0.1"),
    Mitigation("popart", _IMBALANCE, "rewards=popart,temperature=0.1"),
    _RETURN_SCALED,
    *(
        Mitigation(name, _IMBALANCE, f"combine={name}")
        for name in ("uncertainty", "dwa", "grad_norm")
    ),
    Mitigation("heads", _INTERFERENCE, "shared=trunk"),
    Mitigation("pcgrad", _INTERFERENCE, "combine=pcgrad"),
)


_MINIGRID = tuple(row for row in _TOGETHER if row.name in ("heads", "pcgrad", "moore"))


def mitigations(testbed: Testbed, *, every: bool) -> tuple[Mitigation, ...]:
    """Return the mitigations of a testbed.

    Args:
        testbed: where they are tried.
        every: True for slow and rare ones, too.
    """
    if testbed.method == "mtrl_sequence":
        return _IN_SEQUENCE
    if testbed.method == "mtrl_sac":
        return _SAC
    if testbed.name == "minigrid":
        return _MINIGRID
    own = {"scales": _SCALES, "opposed": _OPPOSED}.get(testbed.name, ())
    return (*own, *_TOGETHER, *(_MORE_SURGERY if every else ()))
