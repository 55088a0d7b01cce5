"""The study: play contexts and free exploration, then take each method's gap to the oracle apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from bridge.errors import UserError
from bridge.report.gaps import Gap, Probes, Regrets, gap
from bridge.report.summary import Key, Results
from experiments import agents
from experiments.cells import Cell
from experiments.registry import LEARNERS
from experiments.studies.attribution import figure, probe, tables
from experiments.studies.histories import Responses, Size
from experiments.studies.history_study import HistoryStudy, Report
from experiments.studies.players import Player

EXACT = ("bayes", "bayes_train")
"""The exact learners of the split, and of the training distribution."""
REFERENCES = ("random", "oracle", *EXACT)
MORE_STEPS = "full_reward:inner_steps=5"
"""More gradient steps at test, of methods that take steps of their own (one at a time)."""


class Study(HistoryStudy):
    """What is taken apart."""

    name = "attribution"
    levels = (4,)
    sizes: ClassVar[dict[str, Size]] = {
        "smoke": Size((0, 1), 60),
        "quick": Size((0, 1, 2), 1024),
        "small": Size((0, 1, 2, 3, 4), 2048),
    }

    @property
    def players(self) -> dict[Player, Player | None]:
        """Each method, and the same with more gradient steps at test; None if it takes no steps of its own."""
        return {
            player: replace(player, tuned=MORE_STEPS)
            if LEARNERS[player.method].takes_steps
            else None
            for player in self.histories.methods
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """Those on which both exact learners are exact."""
        return tuple(split for split in self.histories.splits if self._exact(split))

    def _exact(self, split: str) -> bool:
        sources = [agents.resolve(name, self.histories.made) for name in EXACT]
        return all(
            s.plays_split(split) and s.load(split).card.exact_reference == "exact" for s in sources
        )

    def cells(self) -> list[list[Cell]]:
        """Return the cells of track C, then those of track F."""
        return [*self._on_context(), *self._free()]

    def _on_context(self) -> list[list[Cell]]:
        """The cells of track C; the second list tunes runs that the first one trains."""
        tuned = [player for player in self.players.values() if player]
        return self.histories.cells([*self.players, *tuned], REFERENCES, self.splits)

    def _free(self) -> list[list[Cell]]:
        """The cells of track F."""
        return self.histories.cells(self.players, REFERENCES, self.splits, track="F")

    def check(self) -> None:
        """Refuse what cannot be played.

        Raises:
            UserError: histories that cannot be played, or a family without exact learners.
        """
        super().check()
        family = self.histories.made
        if not all(agents.plays(name, family) for name in EXACT) or not self._exact("id"):
            raise UserError(
                f"The parts of a gap need exact learners, and {' or '.join(EXACT)} is none on {family.id}. Choose "
                "another family, such as bandit."
            )

    def gaps(self) -> dict[str, dict[str, Gap]]:
        """Return the gap of each method, by split and name."""
        cells = [cell for some in self._on_context() for cell in some]
        responses = {split: self.histories.read(cells, split) for split in self.splits}
        results = Results(self.histories.rows)
        return {
            split: {
                player.name: self._gap(results, split, player, tuned, responses)
                for player, tuned in self.players.items()
            }
            for split in self.splits
        }

    def _gap(
        self,
        results: Results,
        split: str,
        player: Player,
        tuned: Player | None,
        responses: Mapping[str, Mapping[str, Responses]],
    ) -> Gap:
        def regret(method: str, track: str = "C") -> Regrets:
            sums = results.sums(Key(self.histories.made.id, split, method, track), "regret")
            assert sums is not None  # it was played
            return sums.table

        def probed(method: str) -> Regrets | None:
            plans = (self.histories.plan(name) for name in (split, "id"))
            here, home = (responses[name][method] for name in (split, "id"))
            plan, at_home = plans
            return probe.regrets(self.histories.made, plan, here, at_home, home)

        own, exact = probed(player.name), probed("bayes_train")
        return gap(
            random=regret("random"),
            bayes=regret("bayes"),
            bayes_train=regret("bayes_train"),
            on_context=regret(player.name),
            free=regret(player.name, "F"),
            with_steps=regret(tuned.name) if tuned else None,
            probes=None if own is None or exact is None else Probes(own, exact),
        )

    def report(self) -> Report:
        """Return the tables, the numbers by name, and the figure."""
        gaps = self.gaps()
        left_out = [split for split in self.histories.splits if split not in gaps]
        return Report(
            tables.markdown(self.histories.made.id, gaps, left_out),
            ("split", "method", "part"),
            tables.named(gaps),
            figure.draw(gaps, self.histories.out / "figures"),
        )
