"""Files of structures that ASE reads and writes, with one sentence where it does not."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surform.data.atomic import refuse_folder, replacing

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["check_structures_file", "read_structures", "write_structures"]


def read_structures(path: str | os.PathLike[str], index: str = ":") -> list[Atoms]:
    """The structures of a file (extended XYZ, CIF, POSCAR, ... by its name and content).

    Args:
        index: a number or a slice, as text.

    Raises:
        FileNotFoundError: no such file. ValueError: not a file of structures, or none chosen.
    """
    from ase.io import read

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not re.fullmatch(r"-?\d+|-?\d*(:-?\d*){1,2}", index):
        raise ValueError(f"{index!r} is neither a number nor a slice such as 0:10")
    try:
        found = read(Path(path), index=index)
    except (StopIteration, IndexError) as error:
        raise ValueError(f"{path} has no structures {index}") from error
    except Exception as error:  # readers of so many formats raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"ASE cannot read structures {index} of {path}: {reason}") from error
    structures = found if isinstance(found, list) else [found]
    if not structures:
        raise ValueError(f"{path} has no structures {index}")
    return structures


def check_structures_file(
    path: str | os.PathLike[str],
    option: str,
    sources: Sequence[str | os.PathLike[str]],
    count: int = 1,
) -> str:
    """ASE's name for the format of a file that so many structures are to be written to.

    Raises:
        ValueError: no such format, one that is compressed or holds one structure only, or the file
            is one of `sources`.
        FileExistsError: a folder is there.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    refuse_folder(path, option)
    for source in sources:
        if Path(source).resolve() == Path(path).resolve():
            raise ValueError(f"{option} {path} would replace the file that is read")
    try:
        name = filetype(os.fspath(path), read=False)
    except UnknownFileTypeError as error:
        raise ValueError(f"{option} {path}: give a name that ends in .extxyz, say") from error
    if name not in ioformats or not ioformats[name].can_write:
        raise ValueError(f"{option} {path}: ASE does not write {name}; take .extxyz, say")
    if ioformats[name].single and count > 1:
        raise ValueError(
            f"{option} {path}: {name} holds one structure, not {count}; take .extxyz, say"
        )
    if Path(path).suffix in (".gz", ".bz2", ".xz"):
        raise ValueError(f"{option} {path}: nothing is compressed here; leave out the last suffix")
    return name


def write_structures(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> Path:
    """Write structures with energies, forces and stresses, all or nothing; returns the path."""
    from ase.io import write

    name = check_structures_file(path, "the file", ())
    with replacing(path) as partial:
        write(partial, structures, format=name)
    return Path(path)
