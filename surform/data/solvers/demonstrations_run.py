"""Make a file of demonstrations: attempts of an expert, of which those that succeed are kept."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import publish, replacing
from surform.data.demonstrations_write import DemonstrationWriter
from surform.data.environments.opening import EnvironmentSource
from surform.data.solvers.attempts import attempt
from surform.data.solvers.demonstrations import Demonstrated
from surform.data.solvers.options import find_solver
from surform.data.solvers.points_run import in_processes
from surform.data.solvers.request import Request

__all__ = ["attempts_of", "make_demonstrations"]

_PATIENCE = (20, 5)  # attempts that may fail: so many, and so many for each that is asked for
_VALID = 10  # every so manieth episode of a task
_PACKAGES = ("gymnasium", "gym-pusht", "pymunk", "metaworld", "mujoco")


def make_demonstrations(
    request: Request,
    target: Path,
    workers: int,
    report: Callable[[float], None],
    fresh: bool,
) -> None:
    """Make the episodes of a request that are still missing, and give the file its name.

    Args:
        request: what is asked for; `samples` episodes of every task.
        target: name of the HDF5 file.
        workers: processes; with 1 the episodes are made in this one.
        report: called with the finished fraction.
        fresh: forget an earlier beginning.

    Raises:
        ValueError: the expert fails too often, or there is none.
    """
    asked: Demonstrated = find_solver(request.solver)(**request.parameters)
    partial = _Partial(target, request, fresh)
    total = len(asked.sources) * request.samples
    make = functools.partial(attempt, request.seed, asked.hold)
    # most rounds are one: what fails in it is made up for in the next
    while missing := _missing(partial, asked, request):
        made = in_processes(make, missing, min(workers, len(missing)), request.solver)
        for (source, number), episode in zip(missing, made, strict=True):
            partial.write(source, number, episode)
            report(sum(map(partial.kept, asked.sources)) / total)
    partial.publish(asked)
    report(1.0)


def attempts_of(path: Path) -> dict[str, tuple[int, int]]:
    """{task: (episodes kept, attempts)} of a file of demonstrations."""
    import h5py

    with h5py.File(path, "r") as file:
        told = json.loads(str(file.attrs["attempts"]))
    return {task: (kept, tried) for task, (kept, tried) in told.items()}


def _missing(
    partial: _Partial, asked: Demonstrated, request: Request
) -> list[tuple[EnvironmentSource, int]]:
    """The attempts to make next, task by task; ValueError for an expert that fails too often."""
    found = []
    for source in asked.sources:
        kept, tried = partial.kept(source), partial.tried(source)
        if tried - kept >= _PATIENCE[0] + _PATIENCE[1] * request.samples:
            raise ValueError(
                f"{request.solver}: the expert of {source.label} succeeded in {kept} of {tried} "
                f"attempts, too few for {request.samples} episodes"
            )
        found += [(source, number) for number in range(tried, tried + request.samples - kept)]
    return found


class _Partial:
    """The folder `<name>.partial`: a file for each attempt, empty where it failed.

    A file is whole as soon as it has its name: a kill at any moment costs one attempt.

    Raises:
        FileExistsError: the folder belongs to another request.
    """

    def __init__(self, target: Path, request: Request, fresh: bool) -> None:
        self.target, self.request = target, request
        self.folder = target.with_name(f"{target.name}.partial")
        self._note = self.folder / "progress.json"
        begun = {} if fresh else self._begun()
        if begun:
            request.check_same(self.folder, begun, exact=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            with replacing(self._note) as new:
                new.write_text(json.dumps(request.attributes(target)))
        self._sizes = {path.name: path.stat().st_size for path in self.folder.glob("*/*.npz")}

    def write(
        self, source: EnvironmentSource, number: int, episode: Mapping[str, np.ndarray] | None
    ) -> None:
        """Keep what an attempt gave."""
        path = self._path(source, number)
        with replacing(path) as new, new.open("wb") as file:
            if episode is not None:
                np.savez(file, allow_pickle=False, **episode)
        self._sizes[path.name] = path.stat().st_size

    def tried(self, source: EnvironmentSource) -> int:
        """Attempts of a task, which are numbered without gaps."""
        number = 0
        while self._path(source, number).name in self._sizes:
            number += 1
        return number

    def kept(self, source: EnvironmentSource) -> int:
        """Those that succeeded."""
        return len(self._good(source))

    def publish(self, asked: Demonstrated) -> None:
        """Write all episodes into one file and give it its name."""
        counts = {s.task or "all": (self.kept(s), self.tried(s)) for s in asked.sources}
        provenance = self.request.attributes(self.target) | {"attempts": json.dumps(counts)}
        whole = self.folder / f"episodes{self.target.suffix}"
        with DemonstrationWriter(whole, self._env_args(asked), provenance) as writer:
            for source in asked.sources:
                self._add(writer, source)
        publish(whole, self.target)
        shutil.rmtree(self.folder)

    def _add(self, writer: DemonstrationWriter, source: EnvironmentSource) -> None:
        for place, number in enumerate(self._good(source)):
            with np.load(self._path(source, number)) as kept:
                arrays = dict(kept)
            told = {"task": source.task, "instruction": str(arrays["instruction"])}
            told = {name: value for name, value in told.items() if value}
            seen = {n.removeprefix("obs/"): v for n, v in arrays.items() if n.startswith("obs/")}
            writer.add(
                arrays["actions"], seen, arrays["rewards"], arrays["dones"],
                mask="valid" if place % _VALID == _VALID - 1 else "train",
                seed=int(arrays["seed"]), **told,
            )  # fmt: skip

    def _env_args(self, asked: Demonstrated) -> dict[str, Any]:
        source = asked.sources[0]
        with np.load(self._path(source, self._good(source)[0])) as kept:
            fps = float(kept["fps"])
        return {
            "env_name": source.name,
            "env_kwargs": dict(source.options),
            "tasks": [each.task for each in asked.sources if each.task],
            "fps": fps,
            "packages": _versions(),
        }

    def _good(self, source: EnvironmentSource) -> list[int]:
        return [n for n in range(self.tried(source)) if self._sizes[self._path(source, n).name]]

    def _path(self, source: EnvironmentSource, number: int) -> Path:
        task = source.task or "all"
        return self.folder / task / f"{task}-{number:06d}.npz"

    def _begun(self) -> dict[str, Any]:
        try:
            return json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return {}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
