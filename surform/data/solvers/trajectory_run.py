"""Make a trajectory: frames one after the other, continued by a later run of the same request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surform.data.atomic import replacing
from surform.data.checked_file import CheckedFile
from surform.data.solvers.md_dynamics import Dynamics, Frame
from surform.data.solvers.md_teachers import one_thread
from surform.data.solvers.options import find_solver
from surform.data.solvers.request import Request

__all__ = ["make_trajectory"]

_UNITS = {
    "positions": "Å", "relaxed_positions": "Å", "cell": "Å", "energy": "eV", "forces": "eV/Å",
    "stress": "eV/Å^3", "temperature": "K",
}  # fmt: skip


def make_trajectory(
    request: Request, target: Path, report: Callable[[float], None], fresh: bool
) -> None:
    """Make the frames of a request that are still missing, and give the file its name.

    Args:
        request: what is asked for.
        target: name of the HDF5 file: atomic_numbers (n), positions (T, n, 3), energy (T), forces
            (T, n, 3), temperature (T), relaxed_positions (n, 3); of crystals also cell (3, 3), pbc
            (3) and stress (T, 6).
        report: called with the finished fraction.
        fresh: forget an earlier beginning.
    """
    try:
        with one_thread():
            dynamics: Dynamics = find_solver(request.solver)(**request.parameters)
            partial = _Partial(target, request, dynamics, fresh)
            for done in partial.run():
                report(done)
            partial.publish()
    except ValueError as error:
        raise ValueError(f"{request.solver}: {error}") from error
    report(1.0)


class _Partial:
    """The folder `<name>.partial`: frames in one file, of which only whole ones count.

    Raises:
        FileExistsError: the folder belongs to another request.
    """

    def __init__(self, target: Path, request: Request, dynamics: Dynamics, fresh: bool) -> None:
        self.target, self.request, self.dynamics = target, request, dynamics
        self.folder = target.with_name(f"{target.name}.partial")
        self._rest, self._frames = self.folder / "relaxed.npy", self.folder / "frames.bin"
        self._note = self.folder / "progress.json"
        n = len(dynamics.atoms)
        self.shapes = {"positions": (n, 3), "velocities": (n, 3), "energy": (), "forces": (n, 3)}
        self.shapes["stress"] = (6,)
        self._size = sum(int(np.prod(shape)) for shape in self.shapes.values())
        begun = {} if fresh else self._begun()
        if begun:
            request.check_same(self.folder, begun, exact=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            with replacing(self._note) as new:
                new.write_text(json.dumps(request.attributes(target)))

    def run(self) -> Iterator[float]:
        """Make frame after frame, and yield the finished fraction."""
        relaxed, seed = self._relaxed(), self.request.seed
        frames = self.dynamics.unseen + self.request.samples
        done, last = self._last()
        with self._frames.open("ab") as file:
            for number in range(done, frames):
                generator = np.random.default_rng([seed, number])
                try:
                    if last is None:
                        last = self.dynamics.first(relaxed, generator)
                    else:
                        last = self.dynamics.following(last, generator)
                except ValueError as error:
                    raise ValueError(f"frame {number - self.dynamics.unseen}: {error}") from error
                file.write(self._packed(last))
                file.flush()
                yield (number + 1) / frames

    def publish(self) -> None:
        """Write the frames after the equilibration as HDF5, and give it its name."""
        atoms, kind = self.dynamics.atoms, np.dtype(self.request.dtype)
        stored = np.fromfile(self._frames, np.float64).reshape(-1, self._size)
        found = self._unpacked(stored[self.dynamics.unseen :])
        warm = [self.dynamics.temperature_of(one) for one in found["velocities"]]
        places = np.stack([self.dynamics.centered(one) for one in found["positions"]])
        arrays = {
            "atomic_numbers": atoms.numbers.astype(np.int32),
            "positions": places.astype(kind),
            "energy": found["energy"],
            "forces": found["forces"].astype(kind),
            "temperature": np.array(warm, np.float32),
            "relaxed_positions": self.dynamics.centered(self._relaxed()),
        }
        if atoms.pbc.any():
            arrays |= {"cell": np.asarray(atoms.cell), "pbc": atoms.pbc}
            if atoms.pbc.all():
                arrays["stress"] = found["stress"].astype(kind)
        with (
            replacing(self.target) as new,
            CheckedFile(new) as sink,
            h5py.File(sink, "w") as file,
        ):
            file.attrs.update(self.request.attributes(self.target))
            file.attrs["method"] = self.dynamics.teacher.name
            for name, values in arrays.items():
                file[name] = values
                if name in _UNITS:
                    file[name].attrs["units"] = _UNITS[name]
                sink.check()
        shutil.rmtree(self.folder)

    def _relaxed(self) -> np.ndarray:
        if not self._rest.exists():
            with replacing(self._rest) as new, new.open("wb") as file:
                np.save(file, self.dynamics.relaxed())
        return np.load(self._rest)

    def _packed(self, frame: Frame) -> bytes:
        parts = [np.ravel(getattr(frame, name)) for name in self.shapes]
        return np.concatenate(parts).astype(np.float64).tobytes()

    def _unpacked(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        found, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            found[name] = rows[:, start : start + size].reshape(len(rows), *shape)
            start += size
        return found

    def _last(self) -> tuple[int, Frame | None]:
        """How many whole frames there are, and the last; what a kill left of another is cut off."""
        if not self._frames.exists():
            return 0, None
        size = 8 * self._size
        done = self._frames.stat().st_size // size
        with self._frames.open("r+b") as file:
            file.truncate(done * size)
            if not done:
                return 0, None
            file.seek((done - 1) * size)
            row = np.frombuffer(file.read(), np.float64)[None]
        found: dict[str, Any] = {name: values[0] for name, values in self._unpacked(row).items()}
        found["energy"] = float(found["energy"])
        return done, Frame(**found)

    def _begun(self) -> dict[str, Any]:
        try:
            return json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return {}
