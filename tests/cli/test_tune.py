"""`surform tune`: what it finds is trained again, what stops it loses one trial."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surform.cli.fit_config import read_config
from surform.cli.main import main
from surform.cli.tune_plan import Plan, Start, make_plan
from surform.cli.tune_space import parse_space
from surform.cli.tune_study import Study, stored_plan
from tests.cli.fit_runs import RECIPE, Run
from tests.training.toy import ToyData

FIGURE = "validation/relative_l2/clean"
# Classes that are not registered: the user vouches for them, the folder of a tuning cannot.
OURS = ("--model.net", "tests.training.toy.Smooth", "--data", "tests.training.toy.ToyData")
SEARCH = ("model.optimizer.lr=log:1e-4:1e-1", "model.net.dim=[2,6,10]", "model.net.dropout=0:1")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call a command in an empty folder that has a recipe."""
    (tmp_path / "toy.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main([*words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def search(*words: str, trials: int = 3) -> tuple[str, ...]:
    return ("tune", "-c", "toy.yaml", "--out", "t", "--trials", str(trials), "--search", *words)


def table() -> list[dict[str, str]]:
    with open("t/trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def refused(result: tuple[int, str, str], message: str) -> None:
    code, out, error = result
    assert code == 2, (out, error)
    assert message in error.splitlines()[-1]


def test_the_best_configuration_trains_to_the_same_figure(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(self: Any) -> None:
        raise AssertionError("the test split was looked at")

    monkeypatch.setattr(ToyData, "test_dataloader", looked)
    code, out, error = run(*search(*SEARCH))
    assert code == 0, error
    rows = table()
    assert [row["state"] for row in rows] == ["completed"] * 3
    # the recipe's own values come first
    assert [float(rows[0][key]) for key in ("model.optimizer.lr", "model.net.dim")] == [0.01, 6]
    assert len({row["model.net.dropout"] for row in rows}) == 3  # reals, though 0:1 was written
    best = min(rows, key=lambda row: float(row["figure"]))
    lines = out.splitlines()
    assert lines[0] == "3 trials in t: 3 completed"
    assert lines[1].split() == ["trial", FIGURE, "seconds", "lr", "dim", "dropout"]
    assert lines[2].split()[0] == best["trial"]

    kept = [folder.name for folder in Path("t/trials").iterdir() if (folder / "model").exists()]
    assert kept == [best["trial"]]
    header = Path("t/best.yaml").read_text().splitlines()[:2]
    assert header[0] == (
        f"# The best of 3 trials of surform tune: {FIGURE} {float(best['figure']):.6g} "
        f"(trial {best['trial']})."
    )
    assert f"model.net.dim {best['model.net.dim']}" in header[1]
    code, _, error = run("fit", "--config", "t/best.yaml", "--out", "again", "--no_report")
    assert code == 0, error
    summary = json.loads(Path("again/summary.json").read_text())
    assert summary["metrics"][FIGURE] == float(best["figure"])


def test_a_small_space_is_searched_whole_and_gone_on_with(run: Run) -> None:
    whole = search("model.net.dim=[4,6]", "model.loss=[mse,relative_l2]", trials=4)
    code, out, error = run(*whole, "--timeout", "0.001")
    assert code == 0, error
    assert "1 trial in t: 1 completed" in out
    assert "0.001 seconds are over after 1 trial" in error
    first = table()
    assert first[0]["model.loss"] == "relative_l2"  # the default of the task
    line = ("tune", "--out", "t", "--trials", "9", *OURS)  # the rest is as the folder says
    code, out, error = run(*line)
    assert code == 0, error
    assert "there are only 4 different trials" in error
    assert "t holds 1 trial: going on" in error
    rows = table()
    assert rows[:1] == first
    assert len({(row["model.net.dim"], row["model.loss"]) for row in rows}) == len(rows) == 4
    code, again, error = run(*line)
    assert (code, again) == (0, out)
    assert "trial 4" not in error


def test_trials_that_are_behind_are_stopped(run: Run, tmp_path: Path) -> None:
    start = Start(read_config("toy.yaml"), ["--trainer.max_epochs", "4"])
    plan = make_plan("toy", start, parse_space(SEARCH))
    Path("t").mkdir()
    study = Study(Path("t"), plan)
    for place in range(5):  # better than any training
        trial, _ = study.ask(place)
        for seen in range(1, 5):
            trial.report(1e-9, seen)
        study.complete(trial, 1e-9)
    Path("t/trials/0").mkdir(parents=True)
    Path("t/trials/0/config.yaml").write_text("")
    code, out, error = run(*search(*SEARCH, trials=6), "--prune", "--trainer.max_epochs", "4")
    assert code == 0, error
    assert "5 completed, 1 pruned" in out
    assert "trial 5: stopped after" in error
    assert table()[5]["state"] == "pruned"
    seen = [json.loads(line) for line in Path("t/study.log").read_text().splitlines()]
    steps = [line["step"] for line in seen if line.get("trial_id") == 5 and "step" in line]
    assert steps == [1, 2]  # not at the first validation, before the last one


@pytest.mark.fault
def test_failing_trials_are_counted_and_the_others_go_on(run: Run) -> None:
    """A network that no memory holds, a learning rate that blows up, and values that it refuses."""
    code, out, error = run(
        *search("model.net.dim=[6,1000000000000]", "model.optimizer.lr=[1e-2,1e30]", trials=4)
    )
    assert code == 0, error
    reasons = {(r["model.net.dim"], r["model.optimizer.lr"]): r["reason"] for r in table()}
    assert reasons["6", "0.01"] == ""
    assert reasons["6", "1e+30"].startswith("the training loss became ")
    assert reasons["1000000000000", "0.01"] == "out of memory"
    assert "4 trials in t: 1 completed, 3 failed" in out
    assert "out of memory\n" in error
    assert [folder.name for folder in Path("t/trials").glob("*/model")] == ["model"]


@pytest.mark.fault
def test_trials_that_all_fail_end_with_the_reason(run: Run) -> None:
    result = run(*search("model.net.dropout=1.5:2.5", trials=2))
    refused(result, "all 2 trials failed; the last one: dropout probability has to be")
    assert not Path("t/best.yaml").exists()
    assert [row["state"] for row in table()] == ["failed", "failed"]
    result = run(*search("model.net.dropout=1.5:2.5", trials=50))
    refused(result, "3 trials of 3 failed, all alike: dropout probability has to be")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to search: give --search"),
        (("--search", "model.net.dimm=3:5"), "model.net has no option 'dimm': did you mean dim"),
        (("--search", "modell.net.dim=3:5"), "unknown option --modell.net.dim"),
        (("--search", "model.net.dim=3.5:5"), "model.net.dim must be int, got '3.5'"),
        (("--search", "model.net.dim=[4,wide]"), "model.net.dim must be int, got 'wide'"),
        (("--search", "model.net.dim=4:8", "--model.net.dim", "5"), "is given and searched"),
        (("--search", "model.net.dim=4:8", "--trials", "0"), "--trials must be at least 1"),
        (("--search", "model.net.dim=4:8", "--timeout", "0"), "--timeout must be above 0"),
        (("--search", "model.net.dim=4:8", "--trails", "9"), "unknown option --trails"),
        (("--search", "model.net.dim=4:8", "--trainer.devices", "2"), "trains in one process"),
        (
            ("--search", "model.loss=[mse,mae]", "--model.monitor", "loss"),
            "the loss is what trials are compared by",
        ),
    ],
)
def test_mistakes_are_told_before_anything_trains(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    result = run("tune", "-c", "toy.yaml", "--out", "never", *words)
    refused(result, message)
    assert result[2].count("\n") == 1
    assert not Path("never").exists()


@pytest.mark.fault
def test_data_without_a_validation_split(run: Run) -> None:
    result = run(*search("model.net.dim=[4,5]"), "--trainer.limit_val_batches", "0")
    refused(result, "the data have no validation split, so nothing tells")
    with pytest.raises(FileNotFoundError):
        table()


@pytest.mark.fault
def test_the_library_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = run(*search(*SEARCH))
    assert result[2] == 'surform tune: tuning needs optuna: pip install "surform[tune]"\n'
    assert not Path("t").exists()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    space = parse_space(["a.x=0:1.5", "a.n=1:4", "a.c=[sum,[1,2]]"])
    checked = {"model": {"init_args": {}}, "seed_everything": 5}
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    return Plan("toy", Start({}, []), space, "mse", checked, {"a.x": 1.0, "a.n": 2, "a.c": [1, 2]})


def finish(study: Study, places: int) -> list[dict[str, Any]]:
    """Trials without training, with a figure that is best at x = 0.5."""
    asked = []
    for place in range(study.next_place(), places):
        trial, values = study.ask(place)
        asked.append(values)
        study.complete(trial, (values["a.x"] - 0.5) ** 2 + values["a.n"])
    return asked


def test_a_search_does_not_depend_on_the_process(plan: Plan, tmp_path: Path) -> None:
    asked = finish(Study(tmp_path / "whole", plan), 14)
    assert asked[0] == plan.own
    for places in (4, 14):  # as two processes
        finish(Study(tmp_path / "parts", plan), places)
    study = Study(tmp_path / "parts", plan)
    assert [row.values for row in study.rows()] == asked
    assert all(0 <= v["a.x"] <= 1.5 and v["a.n"] in (1, 2, 3, 4) for v in asked)
    assert {str(v["a.c"]) for v in asked} == {"sum", "[1, 2]"}
    shares = study.importances()
    assert set(shares) == set(plan.space)
    assert math.isclose(sum(shares.values()), 1.0)


@pytest.mark.fault
def test_a_lost_trial_is_drawn_anew_and_given_up_the_second_time(
    plan: Plan, tmp_path: Path
) -> None:
    asked = finish(Study(tmp_path / "whole", plan), 4)
    study = Study(tmp_path, plan)
    finish(study, 2)
    for _ in range(2):
        place = study.next_place()
        assert place == 2
        assert study.ask(place)[1] == asked[2]  # and its process ends
        with open(tmp_path / "study.log", "ab") as log:
            log.write(b'{"op_code":')  # within a line
        study = Study(tmp_path, plan)
    lost = study.rows()[2]
    assert (lost.state, lost.reason) == ("failed", "its process was ended twice (out of memory?)")
    assert study.next_place() == 3
    assert finish(study, 4)


@pytest.mark.fault
def test_a_folder_keeps_its_search(plan: Plan, tmp_path: Path) -> None:
    Study(tmp_path, plan)
    before = (tmp_path / "study.log").read_bytes()
    with pytest.raises(
        ValueError, match=r"--search a\.n was 1:4 in .* and is 1:5 now: give no --se"
    ):
        Study(tmp_path, replace(plan, space=plan.space | parse_space(["a.n=1:5"])))
    with pytest.raises(ValueError, match=r"--search b was left out in .* and is 1:5 now"):
        Study(tmp_path, replace(plan, space=plan.space | parse_space(["b=1:5"])))
    with pytest.raises(ValueError, match=r"seed_everything was 5 in .* and is 6 now: leave it out"):
        Study(tmp_path, replace(plan, checked=plan.checked | {"seed_everything": 6}))
    assert (tmp_path / "study.log").read_bytes() == before
    assert stored_plan(tmp_path)["title"] == "toy"


def test_a_search_of_before_goes_on_with_the_present_names_of_arguments(tmp_path: Path) -> None:
    def named(argument: str) -> dict[str, Any]:
        path = "surform.forecasting.dlinear.DLinear"
        return {"model": {"class_path": path, "init_args": {argument: 5}}}

    plan = Plan("old", Start(named("kernel"), []), {}, "validation/mse", named("kernel"), None)
    Study(tmp_path, plan)
    found = stored_plan(tmp_path)
    assert found["checked"] == found["start"]["config"] == named("kernel_size")


@pytest.mark.fault
def test_a_run_is_no_folder_of_a_search(run: Run) -> None:
    Path("r/checkpoints").mkdir(parents=True)
    refused(run("tune", "-c", "toy.yaml", "--out", "r"), "r holds a run of surform fit")


@pytest.mark.fault
def test_two_processes_do_not_share_a_folder(run: Run, tmp_path: Path) -> None:
    from surform.data.atomic import writer_lock

    with writer_lock(tmp_path / "t" / "study"):
        refused(run(*search("model.net.dim=[4,6]")), "is being written by process")
    assert not Path("t/study.log").exists()


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_search_ends_like_one_that_was_not(run: Run) -> None:
    line = search(*SEARCH)
    code, _, error = run(*line)
    assert code == 0, error
    whole = table()
    Path("t").rename("whole")
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), "SURFORM_TOY_PAUSE": "0.5"}
    begun = f"from surform.cli.main import main; main({[*line]!r})"
    process = subprocess.Popen([sys.executable, "-c", begun], env=os.environ | where)
    metrics = Path("t/trials/1/metrics.csv")
    try:
        while not metrics.is_file() and process.poll() is None:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert metrics.is_file()
    assert len(table()) == 1
    code, _, error = run(*line)
    assert code == 0, error
    assert "t holds 1 trial: going on" in error
    for row, other in zip(whole, table(), strict=True):
        assert row | {"seconds": ""} == other | {"seconds": ""}
    assert Path("t/best.yaml").read_text() == Path("whole/best.yaml").read_text()
