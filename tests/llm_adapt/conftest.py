"""Collections of histories lie in a folder of the test's own."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
