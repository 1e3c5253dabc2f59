"""Models in .zip and .tar archives: only the known files are taken out, and nothing hostile."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from surform.data.faults import parsing
from surform.hub.config import CARD, CONFIG, WEIGHTS

__all__ = ["is_archive", "unpack"]

_NAMES = (CONFIG, WEIGHTS, CARD)
_CHUNK = 1 << 20
_LARGEST = {CONFIG: 64 << 20, CARD: 16 << 20}  # bytes; weights may be as large as models are
_RATIO = 20  # trained weights hardly compress: many times the archive's size is no model


def is_archive(path: str | Path) -> bool:
    """Whether the name says that the file is an archive."""
    name = Path(path).name.lower()
    return name.endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Copy the model inside `archive` into `folder`, which is returned.

    Raises:
        ValueError: damaged, encrypted, without exactly one model, or with a member that is an
            absolute path, leaves the folder, is a link or a device, or unpacks to far more
            than the archive has.
    """
    archive, folder = Path(archive), Path(folder)
    opener = _open_zip if archive.suffix.lower() == ".zip" else _open_tar
    try:
        with parsing(archive), opener(archive) as members:
            _check_names(archive, members)
            root = _model_root(archive, members)
            for name in _NAMES:
                source = members.get(str(root / name))
                if source is not None:
                    _check_size(archive, name, source.size)
                    _copy(source, folder / name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{archive} is damaged or encrypted: {error}") from error
    return folder


def _check_size(archive: Path, name: str, size: int) -> None:
    """ValueError before anything is written, for archives that unpack to far more than they are."""
    most = _LARGEST.get(name, max(_RATIO * archive.stat().st_size, 16 << 20))
    if size > most:
        raise ValueError(
            f"{archive} would unpack {size:,} bytes of {name}, more than the {most:,} that a "
            "model of an archive of this size has: refused"
        )


class _Member:
    """A regular file of an archive, opened on demand."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, info: object, size: int) -> None:
        self.archive, self.info, self.size = archive, info, size

    def open(self) -> IO[bytes]:
        if isinstance(self.archive, zipfile.ZipFile):
            return self.archive.open(self.info)  # type: ignore[arg-type]
        stream = self.archive.extractfile(self.info)  # type: ignore[arg-type]
        if stream is None:
            raise tarfile.ReadError("a member is no regular file")
        return stream


@contextmanager
def _open_zip(path: Path) -> Iterator[dict[str, _Member]]:
    with zipfile.ZipFile(path) as archive:
        members = {}
        for info in archive.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ValueError(f"{path} holds a symbolic link ({info.filename}): refused")
            # `filename` has been cut at NUL and slashed by zipfile; judge what the file says.
            _check_name(path, info.orig_filename)
            if not info.is_dir():
                members[info.filename] = _Member(archive, info, info.file_size)
        yield members


@contextmanager
def _open_tar(path: Path) -> Iterator[dict[str, _Member]]:
    with tarfile.open(path) as archive:
        members = {}
        for info in archive:
            if info.issym() or info.islnk():
                raise ValueError(f"{path} holds a link ({info.name} -> {info.linkname}): refused")
            if not (info.isreg() or info.isdir()):
                raise ValueError(f"{path} holds a device or pipe ({info.name}): refused")
            if info.isreg():
                members[info.name.removeprefix("./")] = _Member(archive, info, info.size)
        yield members


def _check_names(archive: Path, members: dict[str, _Member]) -> None:
    for name in members:
        _check_name(archive, name)


def _check_name(archive: Path, name: str) -> None:
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith("/") or "\\" in name or "\0" in name or drive:
        raise ValueError(f"{archive} holds an absolute or foreign path ({name!r}): refused")
    if ".." in PurePosixPath(name).parts:
        raise ValueError(f"{archive} holds a path that leaves its folder ({name!r}): refused")


def _model_root(archive: Path, members: dict[str, _Member]) -> PurePosixPath:
    roots = [PurePosixPath(name).parent for name in members if PurePosixPath(name).name == CONFIG]
    if len(roots) != 1:
        found = "no" if not roots else f"{len(roots)} files named"
        raise ValueError(f"{archive} must hold one saved model, but it has {found} {CONFIG}")
    return roots[0]


def _copy(source: _Member, target: Path) -> None:
    """Copy in pieces, and never more than the archive's own table promises."""
    left = source.size
    with source.open() as stream, target.open("xb") as out:
        while left > 0 and (piece := stream.read(min(_CHUNK, left))):
            out.write(piece)
            left -= len(piece)
    if left:
        raise EOFError(f"{target.name} ends too early")
