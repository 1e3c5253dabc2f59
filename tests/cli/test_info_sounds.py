"""`surform info` on sounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from surform.cli import main
from tests.data.sound_files import folder, sound, write


def test_sounds_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path / "divided", 2, ("train", "test"))
    (root / "cover.png").write_bytes(b"a picture beside them")
    assert main(["info", str(root)]) == 0
    said = capsys.readouterr().out
    for text in ("12 sounds", "8000 Hz, channels: 1, 0.25 to 0.25 s, 0.1 minutes", "train: 6"):
        assert text in said
    assert "classes: high 4, hiss 4, low 4" in said
    file = write(tmp_path / "one.wav", sound(0, 0), rate=16000)
    assert main(["info", str(file)]) == 0
    said = capsys.readouterr().out
    assert "16000 Hz" in said
    assert "classes" not in said


@pytest.mark.fault
def test_a_damaged_sound_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    assert main(["info", str(tmp_path)]) == 2
    assert f"{tmp_path / 'x.wav'} is damaged or no .wav file" in capsys.readouterr().err
