"""What every test stands on: a cache of its own, so that no test sees or leaves anything in the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_guard.cache import FOLDER_VARIABLE


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache that runs in this test use."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder
