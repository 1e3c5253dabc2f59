"""Lightning's own warnings are its business; ours are errors."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    from surform.cli.fit_progress import quiet

    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    quiet()
