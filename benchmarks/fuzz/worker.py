"""The process that reads: one damaged input after the other, in a folder of its own."""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from benchmarks.fuzz.formats import Format
from benchmarks.fuzz.mutations import Tree, mutated, read_tree, write_tree
from benchmarks.fuzz.verdict import fault_of

__all__ = ["READ", "REFUSED", "Sample", "attempt", "input_of", "sample_of", "work"]

READ, REFUSED = "read", "refused"
_MEMORY = 4 * 2**30  # bytes that reading a file of some kilobytes may take

Sample = tuple[Tree, str]  # valid data, and what of them a user names


def work(
    pipe: Connection, name: str, form: Format, seeds: Sequence[int], place: str, trace: bool
) -> None:
    """Send "ready", then a verdict for each seed: "read", "refused", or what is wrong."""
    import torch

    faulthandler.disable()  # the parent says what ended
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ["TMPDIR"] = tempfile.tempdir = place
    _limit_memory()
    sample = sample_of(form, Path(place))
    if not trace:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
    pipe.send("ready")
    for seed in seeds:
        pipe.send(attempt(name, form, sample, seed, Path(place), trace))


def sample_of(form: Format, place: Path) -> Sample:
    """The valid data of a format."""
    folder = Path(tempfile.mkdtemp(dir=place))
    target = form.write(folder).relative_to(folder).as_posix()
    tree = read_tree(folder)
    shutil.rmtree(folder)
    return tree, target


def input_of(name: str, form: Format, sample: Sample, seed: int) -> Tree:
    """The damaged data of a seed; seed 0 is the sound sample."""
    tree, _ = sample
    if seed == 0:
        return tree
    draw = Random(f"hostile {name}:{seed}")
    if form.hostile is not None and draw.random() < 0.2:
        return form.hostile(tree, draw)
    return mutated(tree, name, seed)


def attempt(
    name: str, form: Format, sample: Sample, seed: int, place: Path, trace: bool = False
) -> str:
    """The verdict on one input."""
    folder = place / f"input-{seed}"  # of its own: readers may keep files open by their paths
    folder.mkdir()
    path = folder / sample[1]
    try:
        write_tree(folder, input_of(name, form, sample, seed))
        try:
            form.read(path)
            verdict = READ
        except BaseException as error:
            if trace:
                traceback.print_exc()
            verdict = fault_of(error, path, form.words) or REFUSED
    finally:
        shutil.rmtree(folder)
    left = sorted(p.name for p in place.iterdir())
    for other in left:
        shutil.rmtree(place / other, ignore_errors=True)
        (place / other).unlink(missing_ok=True)
    if left and verdict in (READ, REFUSED):
        return f"left files behind, {', '.join(left)}"
    return verdict


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
