"""``metabridge advise``: which kind of method to use, and what was measured of this advice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Advise:
    """Print which kind of method to use in a setting, with what the sheet of claims measured of it.

    For example: metabridge advise --shifted
    """

    known_tasks: bool = False
    """The tasks at test are the training tasks."""
    gradient_at_test: bool = False
    """Gradient steps can be taken at test."""
    uncertain_identity: bool = False
    """A trial says little about the task that it plays."""
    shifted: bool = False
    """The tasks at test are from another distribution than those of training."""

    def run(self) -> int:
        """Print the advice for every setting that is given."""
        from experiments.studies.claims import advice

        names = advice.choices(
            known_tasks=self.known_tasks,
            gradient_at_test=self.gradient_at_test,
            uncertain_identity=self.uncertain_identity,
            shifted=self.shifted,
        )
        rows = advice.evidence()
        print("\n\n".join(advice.text(name, rows) for name in names))
        return 0
