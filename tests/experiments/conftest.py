"""Runs that several files tune and study, trained once."""

from pathlib import Path

import pytest

from bridge.report import figures
from bridge.report.figures import drawing
from bridge.training.budget import Budget
from experiments import runs

TRAINED_ON = "bandit:k=3,n=8"
TINY = "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,minibatches=1,epochs=1"
TRAINED = {
    "icl_rl": f"icl_rl:{TINY}",
    "rl2": "rl2:hidden=8,steps_per_update=400,minibatches=1,epochs=1",
    "maml": "maml:hidden=8,tasks_per_update=2,inner_steps=1,epochs=1,episodes_per_step=2",
    "cloner": f"lora_demos_icl_rl:{TINY}",
    "mtrl": "mtrl:hidden=8,tasks_per_update=2,episodes_per_task=2,epochs=1",
    "mt": f"mt:{TINY}",
    "lora_reward_icl_rl": f"lora_reward_icl_rl:{TINY}",
    "lora_reward_mt": f"lora_reward_mt:{TINY}",
    "lora_maml": f"lora_maml:{TINY}",
}


class Runs(dict[str, Path]):
    """Run folders by name, each trained for some hundred steps when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        wanted = runs.Run(
            method=TRAINED[name],
            family=TRAINED_ON,
            seed=4,
            budget=Budget(400.0),
            out=self.folder / name,
        )
        assert runs.train_quietly(wanted, resume=False)
        self[name] = wanted.out
        return wanted.out


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def rendered() -> None:
    """Asks for the files of figures."""


@pytest.fixture(autouse=True)
def _figures_as_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of commands make their figures, but render none unless a test asks, and then SVG alone: rendering takes
    long, PDF files with their fonts longest, and figures have tests of their own."""
    monkeypatch.setattr(drawing, "FORMATS", {"svg": drawing.FORMATS["svg"]})
    if "rendered" not in request.fixturenames:
        monkeypatch.setattr(figures, "save", lambda _figure, stem: stem)
