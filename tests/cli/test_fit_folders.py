"""The folders of runs: who may write them, what they are continued from, where they are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from surform.cli.lightning_cli import owned
from surform.cli.main import main
from tests.cli.fit_runs import Run, refused


@pytest.mark.fault
def test_a_run_without_a_checkpoint_is_told_to_train_first(run: Run) -> None:
    Path("begun").mkdir()
    Path("begun/config.yaml").write_text("")
    for command in ("predict", "test"):
        refused(run(command, "begun"), "begun holds no checkpoint: it is no run of surform fit, or")
    refused(run("predict", "runs/digits"), "there is no checkpoint runs/digits, and no run of that")


@pytest.mark.fault
def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/other").mkdir()
    with pytest.raises(ImportError), owned(tmp_path / "runs/vision/mine/20260101/run"):
        raise ImportError
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]
    with owned(tmp_path / "runs/vision/mine/run"):
        (tmp_path / "runs/vision/mine/config.yaml").write_text("")
    assert (tmp_path / "runs/vision/mine/config.yaml").is_file()


@pytest.mark.fault
def test_a_run_is_not_begun_where_it_may_not_write(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir()
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and may(path, mode)
    )
    message = "surform fit: locked/run may not be written: there is no permission to write in"
    refused(run("fit", "-c", "toy.yaml", "--out", "locked/run"), message)
    assert not Path("locked/run").exists()


@pytest.mark.fault
def test_a_finished_run_is_not_overwritten(run: Run, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.glob("**/*") if path.is_file()}
    refused(run("fit", "-c", "toy.yaml", "--out", "r"), "r holds a run already")
    assert {p: p.read_bytes() for p in trained.glob("**/*") if p.is_file()} == before


@pytest.mark.fault
def test_a_run_without_its_last_checkpoint_goes_on_from_the_best(run: Run, trained: Path) -> None:
    shutil.copytree(trained, "half")
    Path("half/checkpoints/last.ckpt").unlink()
    result = run("fit", "-c", "toy.yaml", "--out", "half")
    refused(result, "half holds a run already: continue it with --ckpt_path best --out half")


@pytest.mark.fault
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(run: Run) -> None:
    folder = Path("early/checkpoints")
    folder.mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (folder / f"last.ckpt.partial-{child.pid}").write_bytes(b"half")
    code, _, error = run("fit", "-c", "toy.yaml", "--out", "early", "--no_report")
    assert code == 0, error
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.fault
def test_a_run_is_not_continued_in_the_folder_of_another(run: Run, trained: Path) -> None:
    code, _, error = run("fit", "-c", "toy.yaml", "--out", "b", "--no_report")
    assert code == 0, error
    before = Path("b/checkpoints/last.ckpt").read_bytes()
    result = run("fit", "--ckpt_path", "r", "--out", "b", "-c", "toy.yaml")
    refused(result, "b holds another run already: continue it with --ckpt_path last --out b")
    assert Path("b/checkpoints/last.ckpt").read_bytes() == before


@pytest.mark.fault
@pytest.mark.parametrize("command", ["fit", "test"])
def test_last_is_looked_for_in_the_folder_that_is_given(
    run: Run, trained: Path, command: str
) -> None:
    runs = Path("runs/toy/20260101-000000")
    runs.parent.mkdir(parents=True)
    trained.rename(runs)
    words = ("--ckpt_path", "last", "-c", "toy.yaml")
    for out in ("runs/typo", "runs"):
        refused(run(command, *words, "--out", out), f"there is no last checkpoint below {out}")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["toy"]


def test_two_runs_without_a_folder_get_one_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    words = ("-c", "toy.yaml", "--no_report", "--trainer.max_epochs", "1")
    for count in (1, 2):
        assert main(["fit", *words]) == 0
        assert len(list(Path("runs/toy").iterdir())) == count
        assert "SURFORM_RUN_FOLDER" not in os.environ


@pytest.mark.fault
def test_two_trainings_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    from surform.data.atomic import writer_lock

    with writer_lock(tmp_path / "busy" / "run"):
        refused(run("fit", "-c", "toy.yaml", "--out", str(tmp_path / "busy")), "is being written")
        assert not list((tmp_path / "busy").glob("**/*.ckpt"))
        assert not (tmp_path / "busy" / "config.yaml").exists()


def test_predictions_are_written_from_a_checkpoint(run: Run, trained: Path) -> None:
    import xarray as xr

    Path("runs").mkdir()
    trained.rename("runs/toy")
    words = ("--ckpt_path", "best", "-c", "toy.yaml", "--out", "p.zarr")
    for _ in range(2):  # the second time p.zarr is a folder
        code, out, error = run("predict", *words)
        assert code == 0, error
        assert out == "predictions: p.zarr\n"
    assert xr.open_zarr("p.zarr")["v"].shape == (7, 12)
