"""`surform predict` on sounds: a file, a folder, a table, long clips by windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import surform
from surform.cli import main
from tests.data.sound_files import folder, sound, write

COLUMNS = ["prediction", "probability"]


def predicted(source: Path, out: Path, *more: str) -> pd.DataFrame:
    given = ["predict", "--ckpt_path", "ast-sounds", "--data.path", str(source), "--out", str(out)]
    assert main([*given, *more]) == 0
    return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)


def test_a_folder_a_file_and_a_table(tmp_path: Path) -> None:
    root = folder(tmp_path / "new sounds é", 2)
    changed = ("--data.resample", "true")
    whole = predicted(root, tmp_path / "a.csv", *changed)
    assert whole["clip"].tolist()[:2] == ["high/0.wav", "high/1.wav"]
    assert list(whole.columns[:4]) == ["clip", "seconds", *COLUMNS]
    classes = [name for name in whole.columns if name.startswith("p_")]
    np.testing.assert_allclose(whole[classes].to_numpy().sum(1), 1, atol=1e-5)
    one = predicted(root / "hiss" / "1.wav", tmp_path / "b.parquet", *changed)
    assert one["clip"].tolist() == ["1.wav"]
    np.testing.assert_allclose(one[classes].iloc[0], whole[classes].iloc[3], atol=1e-6)
    table = tmp_path / "some.csv"
    table.write_text(f"note,file\n7,{root.name}/low/0.wav\n8,{root.name}/hiss/1.wav\n")
    two = predicted(table, tmp_path / "c.csv", *changed)
    assert two["clip"].tolist() == [f"{root.name}/low/0.wav", f"{root.name}/hiss/1.wav"]
    np.testing.assert_allclose(two[classes], whole[classes].iloc[[4, 3]], atol=1e-6)


def test_a_long_clip_by_windows(tmp_path: Path) -> None:
    long = np.concatenate([sound(n, n, 16000) for n in (0, 1, 2)])
    path = write(tmp_path / "long.wav", np.stack([long] * 2, 1), rate=16000)
    changed = ("--data.stereo", "mean")
    whole = predicted(path, tmp_path / "a.csv", *changed)
    each = predicted(path, tmp_path / "b.csv", *changed, "--data.windows", "true")
    assert list(each.columns[:5]) == ["clip", "begin", "seconds", *COLUMNS]
    assert each["clip"].tolist() == ["long.wav"] * 3
    window = surform.load_model("ast-sounds").description.spectrograms().samples(98) / 16000  # type: ignore[union-attr]
    np.testing.assert_allclose(each["begin"], np.arange(3) * window)
    np.testing.assert_allclose(each["seconds"], window)
    classes = [name for name in whole.columns if name.startswith("p_")]
    np.testing.assert_allclose(each[classes].mean(), whole[classes].iloc[0], atol=1e-6)
    assert whole["seconds"].tolist() == [3.0]


@pytest.mark.fault
def test_what_cannot_be_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.wav", sound(0, 0))
    table = tmp_path / "x.csv"
    table.write_text("file\nx.wav\ngone.wav\n")
    stereo = write(tmp_path / "s.wav", np.zeros((16000, 2)), rate=16000)
    short = write(tmp_path / "one.wav", sound(0, 0)[:1], rate=16000)
    for source, message, *more in (
        (path, "8000 Hz, but 16000 are wanted: set data.resample to true, or train with data.rate"),
        (table, "names a sound that is not there: gone.wav in row 2"),
        (stereo, "has 2 channels, but one is wanted: set data.stereo to mean or left"),
        (short, f"one.wav of {tmp_path} has 1 samples, but one frame takes 400"),
        (path, "windows='some': choose true or false", "--data.windows", "some"),
    ):
        out = tmp_path / "out.csv"
        given = ["predict", "--ckpt_path", "ast-sounds", "--data.path", str(source)]
        assert main([*given, "--out", str(out), *more]) == 2
        error = capsys.readouterr().err
        assert message in error.splitlines()[-1]
        assert not out.exists()
    table.write_text("name,label\nx.wav,low\n")
    with pytest.raises(ValueError, match="has the columns name, label, but no file"):
        surform.load_model("ast-sounds").predict(table)  # type: ignore[operator]
    table.write_text("file,label\n,low\n")
    with pytest.raises(ValueError, match="names no file in row 1"):
        surform.load_model("ast-sounds").predict(table)  # type: ignore[operator]
