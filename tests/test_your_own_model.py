"""The packages on the pages for those who add a model work from outside, as they stand there."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import surform
from surform import registry
from surform.cli import main
from tests.test_docs import BLOCK, ROOT, blocks, commands

SMALL = "docs/your-own-model.md"
TRANSOLVER = "docs/example-transolver.md"


def install(page: str, site: Path) -> None:
    """The files of a page, which a comment names, and what pip writes of their entry points."""
    for _, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        named = re.search(r"^# (?:File: )?(\S+\.(?:py|toml|yaml))$", text, flags=re.M)
        if named:
            path = site / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path.suffix == ".py":
                (path.parent / "__init__.py").touch()
    groups = tomllib.loads((site / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    info = site / "from_the_page-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: from-the-page\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder to work in, whose `site` is on the path as site-packages are."""
    before = set(sys.modules)
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    registry._entries.cache_clear()
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("my_package", "transolver"):
            del sys.modules[name]
    registry._entries.cache_clear()


def run(page: str, short: list[str]) -> None:
    """The blocks of a page in order; `short` goes with `fit`."""
    for language, text in blocks(page):
        if language == "python" and not text.startswith(("# ", "from ")):
            exec(compile(text, page, "exec"), {})
        for words in commands(text):
            assert main(words + short * (words[0] == "fit")) == 0, words


def test_the_smallest_model_trains(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(SMALL, site)
    assert main(["list", "my_package"]) == 0
    assert "The smallest network on Burgers' equation." in capsys.readouterr().out
    run(SMALL, ["--data.generate.samples", "10", "--trainer.max_epochs", "1", "--out", "mlp"])
    assert surform.load_model("mlp/model").net.arguments["in_channels"] == 1


def test_transolver_trains_predicts_and_is_saved(site: Path) -> None:
    install(TRANSOLVER, site)
    split = "{train: 4, validation: 1, test: 1}"
    run(
        TRANSOLVER,
        ["--data.generate.samples", "6", "--data.split", split, "--trainer.max_epochs", "1"],
    )
    for name in ("predicted.zarr", "all.zarr", "stress-model/config.json"):
        assert Path(name).exists(), name


def test_transolver_heeds_neither_order_nor_padding(site: Path) -> None:
    install(TRANSOLVER, site)
    torch.manual_seed(0)
    net = surform.create_model("transolver", parameters=1, dim=8, heads=2, slices=3).double()
    points, parameters = torch.randn(2, 7, 2).double(), torch.randn(2, 1).double()
    found = net(points, parameters)
    order = torch.randperm(7)
    torch.testing.assert_close(net(points[:, order], parameters), found[:, order])
    mask = torch.arange(9) < 7
    padded = torch.nn.functional.pad(points, (0, 0, 0, 2), value=5.0)
    masked = net(padded, parameters, mask=mask.expand(2, -1))
    torch.testing.assert_close(masked[:, :7], found)


def test_the_table_of_calls_names_what_is_registered() -> None:
    rows = re.findall(r"^\| `(\w+)`, `(\w+)` \|", (ROOT / SMALL).read_text(), flags=re.M)
    assert len(rows) == 9
    assert {model for model, _ in rows} <= set(registry.names("tasks"))
    assert {data for _, data in rows} <= set(registry.names("data"))
