"""`surform bench data`: how fast batches come, from a recipe's data or from files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["run"]

_SECONDS = 10.0  # of each measurement, at most
_CUTOFF = 5.0  # [Å], of structures of atoms without a recipe
_CHUNK = 16  # actions, of demonstrations without a recipe


def run(args: argparse.Namespace) -> int:
    """Measure the loader of each recipe or path that follows "data"."""
    from rich.progress import Progress

    from surform.bench.loading import chunk_gain, measure_loading, uses_workers, where_time_goes
    from surform.bench.measure import save

    if len(args.cases) != 2:
        raise ValueError("surform bench data takes one recipe, configuration file or data path")
    workers = _numbers(args.workers)
    if args.batches < 1:
        raise ValueError("--batches must be at least 1")
    name = args.cases[1]
    make = _maker(name)
    data = make(0)
    data.prepare_data()
    with Progress(transient=True) as progress:
        rows = []
        for count in progress.track(workers, description="loading"):
            rows += measure_loading(make, [count], args.batches, _SECONDS)
        shares = where_time_goes(data, min(args.batches, 20))
    _show(name, rows, shares, chunk_gain(data), uses_workers(data))
    if args.out:
        print(f"wrote {save(args.out, rows, data=name, where_ms=shares)}")
    return 0


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdigit() for word in words):
        raise ValueError(f"--workers is {text!r}: give numbers like 0,1,2")
    return [int(word) for word in words]


def _maker(name: str) -> Callable[[int], Any]:
    """What makes the data module of a recipe, or of a path, with so many workers."""
    from surform.cli.catalog import catalog

    if name in catalog()["recipes"] or name.endswith((".yaml", ".yml")):
        return lambda workers: _of_config(name, workers)
    if not Path(name).exists() and "://" not in name and not any(c in name for c in "*?["):
        raise ValueError(f"{name} is no recipe, no configuration file and no data")
    return lambda workers: _of_path(name, workers)


def _of_config(name: str, workers: int) -> Any:
    import inspect

    from surform.cli.fit_check import import_class
    from surform.cli.fit_config import apply_overrides, read_config
    from surform.cli.fit_open import build_data

    config = read_config(name)
    if not isinstance(config.get("data"), dict):
        raise ValueError(f"{name} has no data")
    cls = import_class("data", config["data"]["class_path"])
    if "workers" in inspect.signature(cls).parameters:
        config = apply_overrides(config, ["--data.workers", str(workers)])
    data = build_data(config)
    if getattr(data, "cutoff", 0.0) is None:  # atoms: the network says which are neighbours
        reach = _of_net(config, ("cutoff", "max_neighbors"))
        data.cutoff, data.max_neighbors = reach["cutoff"], reach["max_neighbors"]
    return data


def _of_net(config: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of the network of a configuration, as given or by default."""
    import inspect

    from surform.cli.fit_check import import_class

    net = config["model"]["init_args"]["net"]
    known = inspect.signature(import_class("model.net", net["class_path"])).parameters
    given = net.get("init_args") or {}
    return {name: given.get(name, known[name].default) for name in names}


def _of_path(path: str, workers: int) -> Any:
    """Demonstrations, poses, atoms, samples on meshes, or all fields on one grid, in and out in
    short windows.
    """
    from surform.data.atoms_files import holds_structures
    from surform.data.demonstrations_files import holds_demonstrations, open_demonstrations
    from surform.data.fields import expand_paths, open_fields
    from surform.data.fields_module import FieldsData
    from surform.data.points_files import holds_points
    from surform.data.points_module import PointsData
    from surform.data.pose_open import holds_poses

    streamed: dict[str, Any] = {"workers": workers, "cache": "files", "split": {"train": 1.0}}
    if holds_demonstrations(path):
        from surform.data.demonstrations_module import DemonstrationsData

        columns = open_demonstrations(path).about.columns
        cameras = [name for name, column in columns.items() if column.kind == "image"]
        return DemonstrationsData(path, cameras=cameras, chunk=_CHUNK, **streamed)
    if holds_poses(path):
        from surform.data.pose_module import PoseData

        return PoseData(path, **streamed)
    if holds_structures(path):
        from surform.data.atoms_module import AtomsData

        return AtomsData(path, **streamed, cutoff=_CUTOFF, targets=[])
    if holds_points(expand_paths(path)[0]):
        return PointsData(path, **streamed)
    found = open_fields(path)
    fields = {str(n): v.dims for n, v in found.data_vars.items() if v.ndim > 1}
    if not fields:
        raise ValueError(
            f"{path} holds no fields on a grid: give a recipe that says how to read it"
        )
    dims = max(fields.values(), key=len)
    names = [name for name, own in fields.items() if own == dims]
    steps: dict[str, Any] = {}
    if "time" in dims:
        frames = max(min(8, found.sizes["time"]) // 2, 1)
        steps = {"input_steps": frames, "target_steps": frames}
    return FieldsData(path, names, names, **streamed, **steps)


def _show(
    name: str, rows: list[dict[str, Any]], shares: dict[str, float], chunks: str, workers: bool
) -> None:
    from rich.console import Console
    from rich.table import Table

    from surform.bench.loading import COLUMNS

    console = Console(width=120, highlight=False, markup=False)
    table = Table(title=f"training batches of {name}")
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in COLUMNS))
    console.print(table)
    if shares:
        total = sum(shares.values())
        parts = ", ".join(f"{n} {_cell(v)} ms ({v / total:.0%})" for n, v in shares.items())
        console.print(f"one batch without workers: {parts}", soft_wrap=True)
    elif not workers:
        console.print("the data are held in memory: no file is read, and workers are not used")
    if chunks:
        console.print(chunks, soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
