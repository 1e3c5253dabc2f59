"""May a result be written where it is to lie? Asked before it is computed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["check_writable", "denied_error"]

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def check_writable(path: str | os.PathLike[str], name: str = "", *, inside: bool = False) -> None:
    """Raise unless a file or folder `path` may be made, or replaced.

    Args:
        name: what the user calls it ("--report"), for the message.
        inside: it is a folder in which files are made, also if it is there already.

    Raises:
        NotADirectoryError: what would be its folder is a file.
        PermissionError: its folder, or the first one above it that there is, may not be changed.
    """
    final = Path(path).absolute()
    places = [final, *final.parents] if inside else final.parents or [final]
    folder = next(place for place in places if os.path.exists(place))
    shown = f"{name} {path}".strip()
    if not folder.is_dir():
        raise NotADirectoryError(f"{shown} cannot be written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{shown} may not be written: there is no permission to write in the folder {folder}"
        )


def denied_error(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """The error to show for `path` if `error` means that it may not be written, otherwise None."""
    if isinstance(error, OSError) and error.errno in _DENIED:
        try:
            check_writable(path)
        except OSError as denied:
            return denied
    return None
