"""`surform fit` on tables of series: what the command line and recipes say to the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from surform.cli import main
from surform.cli.fit_config import read_config
from tests.data.series_files import hourly_rows, write

RECIPE = "forecasting/itransformer-etth1-96"


def test_dates_of_a_recipe_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("data: {class_path: series, init_args: {split: {train: 2017-07-01}}}\n")
    assert read_config(str(path))["data"]["init_args"]["split"] == {"train": "2017-07-01"}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("split", "half", "split 'half': choose etth, ettm, ratio"),
        ("marks", "both", "marks='both': choose"),
        ("lookback", "0", "lookback must be at least 1, got 0"),
        ("variate", "[a]", "data has no option 'variate': did you mean variates"),
    ],
)
def test_a_bad_option_of_the_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    line = ["fit", "--config", RECIPE, "--data.path", path, f"--data.{option}", value]
    assert main(line) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert len(error) < 250
