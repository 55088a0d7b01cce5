"""The kit passes agents that keep the rules, and names the rule that another one breaks."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from bridge import memory as tree
from bridge.conformance import AGENT_CHECKS, check_agent, draws
from bridge.errors import ContractError
from bridge.protocol import Decision
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.spaces import ClippedGaussian, ScaledBeta, SquashedGaussian
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from tests.bridge.short import SHORT
from tests.bridge.toys import Corridor, Notes, Reach, Tally

BANDIT = FAMILIES["bandit"]()
AnyTally: Any = Tally  # what breaks the contract does not fit its types
LONG = ("minigrid", "metaworld")
"""Families whose default trials take long."""
REFERENCE = {"reference": True, "exact_reference": "heuristic", "decode_rule": "rule"}


# --- what keeps the rules passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", AGENT_CHECKS)
@pytest.mark.parametrize("card", [{}, REFERENCE], ids=["learned", "reference"])
@pytest.mark.parametrize("family", [Corridor(), BANDIT], ids=lambda family: family.name)
def test_tally_keeps_every_rule(rule: str, card: dict, family: Any) -> None:
    AGENT_CHECKS[rule](Tally(family, **card), family)


def test_an_agent_in_float64_passes_the_narrow_tolerance() -> None:
    class Double(AnyTally):
        def start(self, *args: Any) -> Notes:
            self.weight = torch.linspace(-1, 1, self.actions, dtype=torch.float64)
            return Notes(*(leaf.double() for leaf in super().start(*args)))

        def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
            return memory._replace(latent=rng.normal(dtype=torch.float64))

        def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
            return super().observe(memory, step._replace(reward=step.reward.double()), carry)

    check_agent(Double(Corridor()), Corridor())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in FAMILIES],
)
def test_the_random_agent_keeps_every_rule_on_every_family(name: str) -> None:
    family = make_family(SHORT[name] if name in LONG else name)
    check_agent(partial(Random, family), family)


# --- agents that break one rule ---------------------------------------------------------------------------------------


class NoAdapt:
    card = Tally(Corridor()).card
    start = begin = act = observe = Tally.act


class NotesTheRowCount(AnyTally):
    def start(self, *args: Any) -> Any:
        return {"notes": super().start(*args), "rows": torch.tensor(len(args[-1]))}


class KeepsAList(AnyTally):
    def start(self, *args: Any) -> Any:
        return [*super().start(*args), "a note"]


class DividesByZero(AnyTally):
    def act(self, *args: Any, **kwargs: Any) -> Decision:
        decision = super().act(*args, **kwargs)
        return decision._replace(logits=decision.logits / (args[0].last != 0)[:, None])


class ThirdOfTwo(AnyTally):
    def act(self, *args: Any, **kwargs: Any) -> Decision:
        decision = super().act(*args, **kwargs)
        return decision._replace(action=decision.action + 1)


class ActsInFloats(AnyTally):
    def act(self, *args: Any, **kwargs: Any) -> Decision:
        decision = super().act(*args, **kwargs)
        return decision._replace(action=decision.action.float())


class SqueezesRows(AnyTally):
    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        assert step.reward.squeeze().dim() == 1
        return super().observe(memory, step, carry)


class DrawsGlobally(AnyTally):
    draw: Callable

    def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
        return memory._replace(latent=memory.latent + float(type(self).draw()))


class TorchNoise(DrawsGlobally):
    draw = partial(torch.rand, 1)


class NumpyNoise(DrawsGlobally):
    draw = partial(np.random.rand)


class PythonNoise(DrawsGlobally):
    draw = partial(random.random)


class OwnGenerator(AnyTally):
    generator = torch.Generator().manual_seed(0)

    def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
        return memory._replace(latent=torch.randn(len(rng), generator=self.generator))


class DrawsOtherwise(AnyTally):
    """Draws by weights that are not the probabilities of its logits."""

    def weights(self, logits: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def act(self, memory: Notes, obs: torch.Tensor, rng: Rows, *, explore: bool) -> Decision:
        decision = super().act(memory, obs, rng, explore=explore)
        return decision._replace(action=rng.categorical(self.weights(decision.logits)))


class LogitsAsWeights(DrawsOtherwise):
    def weights(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits - logits.amin(-1, keepdim=True)).clamp(min=1e-6)


class AnotherTemperature(DrawsOtherwise):
    def weights(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits / 1.5).softmax(-1)


class TakesTheNext(DrawsOtherwise):
    def weights(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1).roll(1, -1)


class TakesTheLikeliest(DrawsOtherwise):
    def weights(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits == logits.amax(-1, keepdim=True)).float()


class KnowsTheSeed(AnyTally):
    """Finds its trial's number by the key of its noise, and looks up the task."""

    def __init__(self, family: Any, **card: Any) -> None:
        super().__init__(family, **card)
        self.family, self.keys = family, Rows.of(0, torch.arange(256), "agent").key

    def act(self, memory: Notes, obs: torch.Tensor, rng: Rows, *, explore: bool) -> Decision:
        decision = super().act(memory, obs, rng, explore=explore)
        found = rng.key[:, None] == self.keys
        task = self.family.sample("id", found.long().argmax(1)).params
        best = task["means"].argmax(-1) if "means" in task else (task["side"] >= 0.5).long()
        return decision._replace(action=torch.where(found.any(1), best, decision.action))


class CountsItsGames(AnyTally):
    games = 0

    def start(self, *args: Any) -> Notes:
        self.games += 1
        return super().start(*args)


class DriftingWeight(AnyTally):
    def adapt(self, memory: Notes, rng: Rows, *, episode: int, last: bool) -> Notes:
        self.weight.add_(1e-3)
        return memory


class WritesInAct(AnyTally):
    def act(self, memory: Notes, *args: Any, **kwargs: Any) -> Decision:
        memory.hidden.add_(0.01)
        return super().act(memory, *args, **kwargs)


class BelievesItself(AnyTally):
    """Counts the action that it meant to take; shown an action, it counts the first."""

    def act(self, *args: Any, **kwargs: Any) -> Decision:
        decision = super().act(*args, **kwargs)
        return decision._replace(carry=decision)

    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        meant = step.action * 0 if carry is None else carry.action
        return super().observe(
            memory, step._replace(action=meant), None if carry is None else carry.carry
        )


class NeedsItsCarry(AnyTally):
    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        return super().observe(memory, step, memory.hidden if carry is None else carry)


class ForgetsTheLastShown(AnyTally):
    def absorb(self, memory: Notes, steps: list) -> Notes:
        return super().absorb(memory, steps[:-1])


class Represents(AnyTally):
    def represent(self, memory: Notes, obs: Any) -> torch.Tensor:
        return torch.zeros(len(obs), 2)


class WritesInRepresent(Represents):
    def represent(self, memory: Notes, obs: Any) -> torch.Tensor:
        for leaf in tree.leaves(memory):
            leaf += 1
        return super().represent(memory, obs)


class RepresentsTheBatch(Represents):
    def represent(self, memory: Notes, obs: Any) -> torch.Tensor:
        return super().represent(memory, obs) + len(obs)


class RepresentsNothing(Represents):
    def represent(self, memory: Notes, obs: Any) -> torch.Tensor:
        return super().represent(memory, obs) / 0


class Doubts(AnyTally):
    def misfit(self, memory: Notes) -> torch.Tensor:
        return torch.zeros(len(memory.last))


class WritesInMisfit(Doubts):
    def misfit(self, memory: Notes) -> torch.Tensor:
        for leaf in tree.leaves(memory):
            leaf += 1
        return super().misfit(memory)


class MisfitOfTheBatch(Doubts):
    def misfit(self, memory: Notes) -> torch.Tensor:
        return super().misfit(memory) + len(memory.last)


class NoMisfit(Doubts):
    def misfit(self, memory: Notes) -> torch.Tensor:
        return super().misfit(memory) / 0


class HiddenField(AnyTally):
    """Keeps its recurrent state in itself."""

    def start(self, *args: Any) -> Notes:
        self.state = torch.zeros(len(args[-1]))
        return super().start(*args)

    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        if len(self.state) == len(step.reward):
            self.state = self.state + step.reward
        return super().observe(memory, step, carry)

    def act(self, memory: Notes, *args: Any, **kwargs: Any) -> Decision:
        extra = self.state if len(self.state) == len(memory.last) else memory.last
        return super().act(memory._replace(last=extra), *args, **kwargs)


class BatchStatistics(AnyTally):
    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        return super().observe(
            memory, step._replace(reward=step.reward - step.reward.mean()), carry
        )


class NoiseByPosition(AnyTally):
    def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
        return memory._replace(latent=Rows.of(0, torch.arange(len(rng))).normal())


class CountsDeadRows(AnyTally):
    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        return super().observe(memory, step._replace(live=None), carry)


class LosesTheLastReward(AnyTally):
    """The RL^2 bug: a reward is fed with the next observation, and cleared at the start of an episode."""

    def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
        return memory._replace(last=torch.zeros_like(memory.last))

    def observe(self, memory: Notes, step: Any, carry: Any = None) -> Notes:
        return super().observe(memory, step, carry)._replace(paid=memory.paid)


BROKEN_AGENTS: list[tuple[str, Any]] = [
    ("has_the_verbs", lambda family: NoAdapt()),
    ("card_is_sane", partial(Tally, decode_rule="beam")),
    ("card_is_sane", partial(Tally, decode_rule="-0.5")),
    ("card_is_sane", partial(Tally, reference=True)),
    ("card_is_sane", partial(Tally, params_trained=2, params_total=1)),
    ("task_is_hidden", partial(Tally, clue="task")),
    ("memory_leads_with_rows", NotesTheRowCount),
    ("memory_leads_with_rows", KeepsAList),
    ("decisions_fit", DividesByZero),
    ("decisions_fit", ThirdOfTwo),
    ("decisions_fit", ActsInFloats),
    ("any_size_plays", SqueezesRows),
    ("noise_is_named", TorchNoise),
    ("noise_is_named", NumpyNoise),
    ("noise_is_named", PythonNoise),
    ("runs_repeat", OwnGenerator),
    ("playing_changes_no_agent", CountsItsGames),
    ("playing_changes_no_agent", DriftingWeight),
    ("playing_changes_no_agent", OwnGenerator),
    ("actions_match_decisions", LogitsAsWeights),
    ("actions_match_decisions", AnotherTemperature),
    ("actions_match_decisions", TakesTheNext),
    ("actions_match_decisions", TakesTheLikeliest),
    ("actions_match_decisions", partial(Tally, decode_rule="argmax")),
    ("actions_match_decisions", partial(Tally, decode_rule="0.5")),
    ("noise_foretells_nothing", KnowsTheSeed),
    ("act_only_reads", WritesInAct),
    ("represent_only_reads", WritesInRepresent),
    ("represent_only_reads", RepresentsTheBatch),
    ("represent_only_reads", RepresentsNothing),
    ("misfit_only_reads", WritesInMisfit),
    ("misfit_only_reads", MisfitOfTheBatch),
    ("misfit_only_reads", NoMisfit),
    ("shown_is_played", BelievesItself),
    ("carry_is_a_cache", NeedsItsCarry),
    ("absorb_is_observe", ForgetsTheLastShown),
    ("fork_is_a_copy", HiddenField),
    ("rows_are_independent", BatchStatistics),
    ("rows_are_independent", NoiseByPosition),
    ("dead_rows_change_nothing", CountsDeadRows),
    ("last_reward_is_kept", LosesTheLastReward),
]


@pytest.mark.parametrize(
    ("rule", "make"),
    BROKEN_AGENTS,
    ids=[f"{rule}-{getattr(m, '__name__', 'card')}" for rule, m in BROKEN_AGENTS],
)
@pytest.mark.parametrize("family", [Corridor(), BANDIT], ids=lambda family: family.name)
def test_the_kit_names_the_rule_that_an_agent_breaks(
    rule: str, make: Callable, family: Any
) -> None:
    with pytest.raises(ContractError, match=rule):
        AGENT_CHECKS[rule](make(family), family)


class Steers(Random):
    """In a box of actions: what it was drawn from is ``params``."""

    def __init__(
        self, family: Any, change: Callable[[Any], Any] = lambda decision: decision
    ) -> None:
        super().__init__(family)
        self.change = change

    def act(self, *args: Any, **kwargs: Any) -> Decision:
        action = super().act(*args, **kwargs).action
        return self.change(Decision(action, params=2 * action))


def test_real_valued_actions_are_checked_too() -> None:
    check_agent(Steers(Reach()), Reach())
    for change, message in (
        (lambda d: d._replace(action=d.action * 2), r"expected actions from \[-0.1.*\] to \[0.1"),
        (lambda d: d._replace(action=d.action[:, 0]), r"expected actions floating point \(6, 2\)"),
        (
            lambda d: d._replace(action=d.action.long()),
            r"expected actions floating point \(6, 2\), found torch.int64",
        ),
        (lambda d: d._replace(action=d.action / 0), "expected actions from"),
        (lambda d: d._replace(params=d.params.log()), "expected finite params"),
    ):
        with pytest.raises(ContractError, match=f"decisions_fit.*{message}"):
            check_agent(Steers(Reach(), change), Reach())


@pytest.mark.parametrize(
    ("rule", "kind"), [("argmax", TakesTheLikeliest), ("1.5", AnotherTemperature)]
)
def test_actions_are_drawn_as_the_card_decodes(rule: str, kind: Any) -> None:
    AGENT_CHECKS["actions_match_decisions"](kind(BANDIT, decode_rule=rule), BANDIT)


class Drawn(Random):
    """In a box, by one of the distributions that networks have; ``off`` is added to what it says of it."""

    def __init__(self, kind: Any, temperature: float = 1.0, off: float = 0.0) -> None:
        super().__init__(Reach())
        self.actions, self.temperature, self.off = kind(Reach().action), temperature, off
        self.card = replace(self.card, reference=False, exact_reference="", decode_rule="sample")

    def act(self, memory: Any, obs: torch.Tensor, rng: Rows, *, explore: bool) -> Decision:
        out = torch.cat([2 * obs, obs - 0.5], -1)
        decision = self.actions.decide(out, rng if explore else None, self.temperature)
        return decision._replace(params=decision.params + self.off)


@pytest.mark.parametrize("kind", [ScaledBeta, ClippedGaussian, SquashedGaussian])
def test_draws_in_a_box_are_those_of_the_distribution_that_the_agent_names(kind: Any) -> None:
    check = AGENT_CHECKS["actions_match_decisions"]
    check(Drawn(kind), Reach())
    for wrong in (Drawn(kind, temperature=0.7), Drawn(kind, off=0.5)):
        with pytest.raises(ContractError, match="actions_match_decisions"):
            check(wrong, Reach())


@pytest.mark.parametrize("count", [20, 60])
def test_false_alarms_are_as_rare_as_is_said(count: int) -> None:
    """2,000 times at a rate of 1/20, of numbers that are as they should be."""
    found = Rows.of(0, torch.arange(2000)).uniform(2, count, dtype=torch.float64)
    far = [max(map(draws.off_uniform, two)) > draws.allowed_distance(count, 0.05) for two in found]
    lead = found[:, 0] * torch.where(found[:, 1] < 0.5, -1.0, 1.0)
    high = [float(one.sum()) > draws.allowed_sum(one, 0.05) for one in lead]
    assert 0.01 < sum(far) / 2000 < 0.05
    assert 0.001 < sum(high) / 2000 < 0.05


def test_every_agent_rule_has_an_agent_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN_AGENTS} == AGENT_CHECKS.keys()


def test_a_reference_is_held_to_the_bit_and_a_network_to_rounding() -> None:
    class Rounds(AnyTally):
        def act(self, *args: Any, **kwargs: Any) -> Decision:
            decision = super().act(*args, **kwargs)
            return decision._replace(logits=decision.logits + 1e-6 * len(decision.logits))

    family = Corridor()
    AGENT_CHECKS["rows_are_independent"](Rounds(family), family)
    for agent, tolerance in ((Rounds(family, **REFERENCE), None), (Rounds(family), 1e-7)):
        with pytest.raises(ContractError, match="rows_are_independent"):
            AGENT_CHECKS["rows_are_independent"](agent, family, tolerance=tolerance)


def test_right_logits_do_not_excuse_actions_drawn_otherwise() -> None:
    class DrawsByPosition(AnyTally):
        def act(self, memory: Notes, obs: Any, rng: Rows, *, explore: bool) -> Decision:
            other = Rows.of(0, torch.arange(len(rng))).at(int(rng.salt) % 97)
            return (
                super()
                .act(memory, obs, rng, explore=explore)
                ._replace(action=other.integers(self.actions))
            )

    with pytest.raises(ContractError, match="rows_are_independent"):
        AGENT_CHECKS["rows_are_independent"](DrawsByPosition(BANDIT), BANDIT)


# --- what a breach says -----------------------------------------------------------------------------------------------


def test_a_breach_says_where_what_and_how_to_mend_it() -> None:
    with pytest.raises(ContractError) as error:
        check_agent(ThirdOfTwo(Corridor()), Corridor())
    text = str(error.value)
    assert text.startswith(
        "tally on corridor, split id, breaks decisions_fit: Every action has the shape"
    )
    assert "At row" in text
    assert "episode 0" in text
    assert "expected actions from 0 to 1, found 2." in text
    assert text.endswith("Clip, or give the head the width of the action space.")


def test_logits_in_some_runs_only_are_a_difference() -> None:
    class SilentInBatches(AnyTally):
        def act(self, memory: Notes, *args: Any, **kwargs: Any) -> Decision:
            decision = super().act(memory, *args, **kwargs)
            return decision if len(memory.last) > 1 else decision._replace(logits=None)

    with pytest.raises(ContractError, match=r"breaks rows_are_independent.*found nothing"):
        AGENT_CHECKS["rows_are_independent"](SilentInBatches(BANDIT), BANDIT)


def test_a_crash_is_laid_at_the_rule_that_met_it() -> None:
    with pytest.raises(ContractError, match=r"fails under any_size_plays: .* AssertionError"):
        check_agent(SqueezesRows(BANDIT), BANDIT)


def test_a_shifted_split_can_be_checked() -> None:
    check_agent(Tally(BANDIT), BANDIT, "shift/gap/2")
    check_agent(Random(replace(BANDIT, tasks=4)), replace(BANDIT, tasks=4), "train")
