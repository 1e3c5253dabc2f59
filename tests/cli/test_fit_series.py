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
    assert_one_line(main(line), capsys, message)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.horizon", "0"), "horizon must be at least 1, got 0"),
        (("--data.split", "{train: 0.6, validation: 0.4, test: 0.3}"), "split"),
        (("--data.step", "foo"), "step 'foo': choose 1h"),
        (("--data.fill", "interpolate"), "fill"),
        (("--data.protocol", "paper"), "protocol='paper' with drop_last_test=0"),
    ],
)
def test_a_bad_option_of_opened_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    line = ["fit", "--config", "forecasting/own-csv", "--data.path", path, *words]
    assert_one_line(main(line), capsys, message)


def assert_one_line(code: int, capsys: pytest.CaptureFixture[str], message: str) -> None:
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert message in error
    assert "Namespace" not in error
    assert len(error.splitlines()) == 1
    assert len(error) < 250
