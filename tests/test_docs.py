"""What the README and the guides tell a newcomer to type runs, block after block, in order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surform.cli import main

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)

# What takes minutes or needs more than the package; the tests of these commands are elsewhere.
ELSEWHERE = ("surform demo",)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block that is meant to be run."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [
        ("python" if language == "python" else "shell", text)
        for language, text in found
        if language == "python" or re.match(r"\s*(surform|pip) ", text)
    ]


def commands(text: str) -> list[list[str]]:
    """The command lines of surform in a block, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [
        shlex.split(line, comments=True)[1:]
        for line in lines
        if line.startswith("surform ") and not line.startswith(ELSEWHERE)
    ]


def run(page: str) -> None:
    names: dict[str, object] = {}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), names)
            continue
        for words in commands(text):
            assert main(words) == 0, (page, words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fresh machine: an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def tour() -> list[str]:
    """The command that makes the flow of the tour."""
    made = [words for _, text in blocks("docs/index.md") for words in commands(text)]
    return next(words for words in made if words[0] == "generate")


def test_pages_hold_blocks_that_are_run() -> None:
    for page in ("README.md", "docs/index.md", "docs/rollout.md", "docs/your-own-data.md"):
        assert {language for language, _ in blocks(page)} == {"shell", "python"}, page


def test_the_flow_of_the_pages_is_that_of_the_shipped_model() -> None:
    import surform

    source = surform.load_model("factformer-kolmogorov").description.source  # type: ignore[union-attr]
    words = shlex.split(source["command"])
    told = tour()
    for option in ("--grid", "--stride", "--dt-frame", "--reynolds", "--forcing-wavenumber"):
        if option in words:
            value = told[told.index(option) + 1]
            assert float(value) == float(words[words.index(option) + 1]), option


def test_the_python_of_compact_transformers_runs() -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/models/cct.md"):
        if language == "python":
            exec(compile(text, "cct.md", "exec"), given)
    chances = given["chances"]
    assert torch.equal(chances.argmax(-1), given["labels"])


def test_the_python_of_hiformer_runs(folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/models/hiformer.md"):
        if language == "python":
            exec(compile(text, "hiformer.md", "exec"), given)
    assert torch.allclose(given["serving"].score(given["table"]), given["chances"], atol=1e-5)


def test_the_page_of_serving_runs(folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/serving.md"):
        if text.startswith("# serve.py"):  # tests/recommenders/test_http_example.py
            continue
        if language == "python":
            exec(compile(text, "serving.md", "exec"), given)
        for words in commands(text) if language == "shell" else ():
            assert main(words) == 0, words
    assert given["served"].metrics["auc/click"] > 0.6
    assert abs(given["served"].metrics["auc_lost/click"]) < 0.01
    assert {path.name for path in folder.iterdir()} >= {"serving", "serving.pt2", "latency.json"}


def test_the_page_of_interactions_runs(folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/interactions.md"):
        if language == "python":
            exec(compile(text, "interactions.md", "exec"), given)
    assert given["batch"].categorical.shape == (256, 2)
    assert sorted(given["seen"].tolist()) == list(range(3200))


def test_the_python_of_rt1_runs() -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/models/rt1.md"):
        if language == "python":
            exec(compile(text, "rt1.md", "exec"), given)
    assert given["action"].shape == (1, 1, 13)
    assert given["loss"].isfinite()


@pytest.mark.parametrize("page", ["dit_policy", "hpt"])
def test_the_python_of_policies_runs(page: str, folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks(f"docs/models/{page}.md"):
        if language == "python":
            exec(compile(text, f"{page}.md", "exec"), given)
    assert given["chunk"].isfinite().all()


def test_the_python_of_the_closed_loop_runs(folder: Path) -> None:
    (text,) = [
        text for language, text in blocks("docs/robotics-rollout.md") if language == "python"
    ]
    Path("loop.py").write_text(text)
    done = subprocess.run([sys.executable, "loop.py"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1.0 ")


def test_the_python_of_atoms_runs(folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/atoms.md"):
        if language == "python":
            exec(compile(text, "atoms.md", "exec"), given)
    assert len(given["data"].samples("test")) == 20
    assert given["data"].remarks() == []


def test_the_python_of_robots_runs(folder: Path) -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/robotics.md"):
        if language == "python":
            exec(compile(text, "robotics.md", "exec"), given)
    assert given["batch"].images["wrist"].shape == (3, 2, 32, 32, 3)
    assert given["actions"].shape == (2, 8, 7)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_a_page_runs_from_nothing(page: str, folder: Path) -> None:
    run(page)


@pytest.mark.slow
def test_the_rollout_guide_runs_on_the_flow_of_the_tour(folder: Path) -> None:
    assert main(tour()) == 0
    run("docs/rollout.md")


@pytest.mark.slow
def test_the_guide_to_forecasting_runs_from_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    run("docs/forecasting.md")
    for name in ("runs/mine/report.html", "forecast.csv", "forecast.png", "backtest/report.html"):
        assert (folder / name).is_file(), name


@pytest.mark.slow
def test_the_guide_to_robots_runs_from_nothing(folder: Path) -> None:
    run("docs/robotics.md")
    assert (folder / "runs/reach/report.html").is_file()
    assert (folder / "evaluated/results.json").is_file()


def test_the_guide_to_scenes_runs_from_nothing(folder: Path) -> None:
    run("docs/hyperspectral.md")
    assert (folder / "runs/country/report.html").is_file()
    assert (folder / "map.nc").is_file()


def test_the_python_of_pyformer_runs() -> None:
    given: dict[str, Any] = {}
    for language, text in blocks("docs/models/pyformer.md"):
        if language == "python":
            exec(compile(text, "pyformer.md", "exec"), given)
    assert given["logits"].shape == (2, 9)


@pytest.mark.slow
def test_the_guide_to_rankers_runs_from_nothing(folder: Path) -> None:
    run("docs/recommenders.md")
    for name in ("runs/clicks/report.html", "runs/clicks/test.json", "scores.parquet"):
        assert (folder / name).is_file(), name
    assert len((folder / "shop-scores.csv").read_text().splitlines()) == 4001


@pytest.mark.slow
def test_the_guide_to_meshes_runs_from_nothing(folder: Path) -> None:
    run("docs/points.md")
    assert (folder / "runs/meshes/report.html").is_file()
    assert len(list((folder / "predicted").glob("*.vtu"))) == 24


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/your-own-data.md", "docs/data.md"])
def test_the_guides_to_data_run_on_arrays(page: str, folder: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("vorticity", "velocity"):
        np.save(f"{name}.npy", random.standard_normal((10, 40, 16, 16)))
    np.save("viscosity.npy", random.random(10))
    run(page)
