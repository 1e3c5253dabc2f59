"""Files and folders that appear complete or not at all, and one writer at a time."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from surform.data.writable import check_writable, denied_error

__all__ = [
    "disk_full_error",
    "publish",
    "refuse_folder",
    "remove_leftovers",
    "replacing",
    "writer_lock",
]

_PARTIAL = re.compile(r"(?P<name>.+)\.partial-(?P<pid>\d+)(\.old|\.mode)?")
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a sibling `<name>.partial-<pid>` to write to; it becomes `path` when the block ends.

    The block may create a file or a folder under the yielded path. On an error whatever it wrote
    is removed and `path` stays as it was. Missing parent folders are made. Permissions follow the
    umask, also where a library writes private temporary files (safetensors: 0600).

    Raises:
        OSError: the disk is full (nothing was written under the final name).
        PermissionError: the folder of `path` may not be written in.
        FileNotFoundError: the block ended without writing anything.
        FileExistsError: a file would replace a folder, or a folder a file.
    """
    final = Path(path)
    _make_parent(final)
    partial = final.with_name(f"{final.name}.partial-{os.getpid()}")
    _remove(partial)
    try:
        yield partial
        if not partial.exists():
            raise FileNotFoundError(f"nothing was written for {final}")
        publish(partial, final)
    except BaseException as error:
        _remove(partial)
        told = disk_full_error(error, final) or denied_error(error, final)
        if told is not None:
            raise told from error
        raise


def _make_parent(final: Path) -> None:
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise denied_error(error, final) or error from error


def publish(partial: Path, final: Path) -> None:
    """Give a finished file or folder its final name; an older one of the same kind is replaced.

    Raises:
        FileExistsError: a file would replace a folder, or a folder a file.
    """
    if final.exists() and final.is_dir() != partial.is_dir():
        kind = "folder" if final.is_dir() else "file"
        raise FileExistsError(f"{final} is an existing {kind}; choose another name")
    _follow_umask(partial)
    if not final.is_dir():
        os.replace(partial, final)
        return
    if _exchange(partial, final):
        _remove(partial)
        return
    # A folder cannot be renamed onto another one: the older is set aside first.
    old = partial.with_name(f"{partial.name}.old")
    _remove(old)  # a killed process may have had the same number
    os.replace(final, old)
    try:
        os.replace(partial, final)
    except BaseException:
        os.replace(old, final)
        raise
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step, so that neither is ever missing; Linux can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def refuse_folder(path: str | os.PathLike[str], name: str) -> None:
    """FileExistsError when a file is to be written where a folder is; `name` is the option's.

    Raises, too, where nothing may be written: see `check_writable`.
    """
    if Path(path).is_dir():
        raise FileExistsError(f"{name} {path} is an existing folder; give the name of a file")
    check_writable(path, name)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what killed writers left in `folder`: of `name`, whose lock the caller holds, or all.

    Of all, what is locked stays: its writer may run on another machine. A writer that was killed
    while it replaced a folder had finished: its result is put in place.
    """
    found = [path for path in folder.iterdir() if _dead(path, name)] if folder.is_dir() else []
    for old in [path for path in found if path.name.endswith(".old")]:
        partial = old.with_name(old.name.removesuffix(".old"))
        final = old.with_name(partial.name.rpartition(".partial-")[0])
        if not final.exists():
            os.replace(partial if partial.exists() else old, final)
    for path in found:
        _remove(path)


def _dead(path: Path, name: str) -> bool:
    match = _PARTIAL.fullmatch(path.name)
    if not match or match["name"] != (name or match["name"]) or _runs(int(match["pid"])):
        return False
    return bool(name) or not _is_held(path.with_name(f"{match['name']}.lock"))


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # of another user
        return True
    try:
        return _try_lock(descriptor) is not True
    finally:
        os.close(descriptor)


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, kill(pid, 0) ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def disk_full_error(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """Return the error to show for `path` if `error` means "no space left", otherwise None.

    Libraries hide the error number (HDF5 keeps it in its text, torch raises RuntimeError), so the
    causes and the texts are searched as well.
    """
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        if number in _FULL or any(os.strerror(code) in str(seen) for code in _FULL):
            message = f"no space left to write {path}; nothing was written under that name"
            full = OSError(message)
            full.errno = number or errno.ENOSPC
            return full
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def writer_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the only right to write `path`, through a sibling `<name>.lock`.

    The operating system frees the lock when its process ends, however it ends, so a lock file
    left by a killed process stops nobody.

    Raises:
        BlockingIOError: another writer, in this or another process, holds the lock.
        PermissionError: the folder of `path` may not be written in.
    """
    final = Path(path)
    _make_parent(final)
    lock = final.with_name(f"{final.name}.lock")
    try:
        descriptor = _acquire(lock, final)
    except OSError as error:
        raise denied_error(error, final) or error from error
    try:
        remove_leftovers(final.parent, final.name)
        yield
    finally:
        # Removed while still held: whoever opened the old file finds in _acquire that it is gone.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _acquire(lock: Path, final: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        if _try_lock(descriptor) is False:
            owner = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise BlockingIOError(
                f"{final} is being written by {owner or 'another process'}; "
                "wait until it ends or choose another name"
            )
        if _still_there(lock, descriptor):
            break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    # A full disk must not stop the lock: the owner's name is only for the message.
    with suppress(OSError):
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return descriptor


def _still_there(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool | None:
    """Whether it is held now; None on a file system that has no locks, where nobody can tell."""
    try:
        import fcntl
    except ImportError:
        return _try_lock_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            return None
        raise
    return True


def _try_lock_windows(descriptor: int) -> bool:
    import msvcrt

    # A byte far behind the text, so that others can still read who holds the lock.
    os.lseek(descriptor, 1 << 20, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    except OSError:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return False
    return True


def _follow_umask(partial: Path) -> None:
    """Give files and folders that only their owner may read the permissions of new ones."""
    private = [path for path in _tree(partial) if path.stat().st_mode & 0o077 == 0]
    if not private:
        return
    # A new file shows the umask; reading it with os.umask would change it for other threads.
    probe = partial.with_name(f"{partial.name}.mode")
    probe.unlink(missing_ok=True)  # a killed process may have had the same number
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = os.fstat(descriptor).st_mode & 0o666
    os.close(descriptor)
    probe.unlink()
    for path in private:
        # Who may read a folder may also enter it.
        path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)


def _tree(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        return
    yield path
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            inside = Path(folder, name)
            if not inside.is_symlink():
                yield inside


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
