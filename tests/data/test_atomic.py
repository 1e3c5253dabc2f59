from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from surform.data import atomic
from surform.data.atomic import (
    disk_full_error,
    refuse_folder,
    remove_leftovers,
    replacing,
    writer_lock,
)
from surform.data.outputs import check_output
from surform.data.writable import check_writable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with replacing(path) as partial:
        partial.write_text("half")
        raise error


def write_nothing(path):
    with replacing(path):
        pass


def test_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert partial.name == f"a.txt.partial-{os.getpid()}"
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_folder_replaces_an_older_folder(tmp_path):
    path = tmp_path / "store.zarr"
    path.mkdir()
    (path / "old").write_text("old")
    with replacing(path) as partial:
        partial.mkdir()
        (partial / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["store.zarr"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_in_one_step_where_the_system_can(tmp_path, monkeypatch, exchanges):
    if exchanges and sys.platform != "linux":
        pytest.skip("names change places in one step on Linux only")
    renames, rename = [], os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (renames.append(names), rename(*names)))
    if not exchanges:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    path = tmp_path / "store.zarr"
    for text in ("old", "new"):
        with replacing(path) as partial:
            partial.mkdir()
            (partial / text).touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["store.zarr"]
    assert len(renames) == (1 if exchanges else 3)


@pytest.mark.fault
def test_all_that_a_killed_writer_leaves_is_removed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / f"a.partial-{child.pid}").mkdir()
    (tmp_path / f"a.partial-{child.pid}.mode").touch()
    (tmp_path / f"b.partial-{os.getpid()}").touch()
    with writer_lock(tmp_path / "a"):
        pass
    assert names(tmp_path) == [f"b.partial-{os.getpid()}"]


@pytest.mark.fault
def test_what_a_writer_on_another_machine_has_locked_stays(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()  # its number says no more than that of a process elsewhere
    for name in ("a", "b"):
        (tmp_path / f"{name}.partial-{child.pid}").mkdir()
    (tmp_path / "b.lock").touch()  # of a writer that was killed
    with writer_lock(tmp_path / "c"):
        (tmp_path / "c.lock").rename(tmp_path / "a.lock")
        remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a.lock", f"a.partial-{child.pid}", "b.lock"]


@pytest.mark.fault
def test_leftovers_of_a_process_of_the_same_number_stop_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    partial = f"a.partial-{os.getpid()}"
    for name in ("a", f"{partial}.old"):
        (tmp_path / name / "old").mkdir(parents=True)
    (tmp_path / f"{partial}.mode").touch()
    with replacing(tmp_path / "a") as new:
        new.mkdir(mode=0o700)
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


@pytest.mark.fault
def test_error_keeps_the_old_file_and_removes_the_partial_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="boom"):
        write_half(path, RuntimeError("boom"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_parent_folders_are_made(tmp_path):
    with replacing(tmp_path / "x" / "y" / "a.txt") as partial:
        partial.write_text("1")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "1"


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing was written for .*a\.txt"):
        write_nothing(tmp_path / "a.txt")


@pytest.mark.fault
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full_is_one_sentence_that_names_the_path(tmp_path, number):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as raised:
        write_half(path, OSError(number, os.strerror(number)))
    assert (
        str(raised.value) == f"no space left to write {path}; nothing was written under that name"
    )
    assert raised.value.errno == number
    assert names(tmp_path) == []


def test_disk_full_is_recognised_inside_other_errors(tmp_path):
    hidden = RuntimeError("Unable to flush file (errno = 28, 'No space left on device')")
    assert disk_full_error(hidden, "a.h5") is not None
    wrapped = RuntimeError("writer failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "x")
    assert disk_full_error(wrapped, "a.h5") is not None
    assert disk_full_error(OSError(errno.EACCES, "x"), "a.h5") is None


@pytest.mark.fault
def test_file_size_limit_leaves_nothing_behind(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from surform.data.atomic import replacing\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with replacing(sys.argv[1]) as partial:\n"
        "        partial.write_bytes(bytes(5000))\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.bin")], capture_output=True, text=True
    )
    assert "no space left to write" in done.stdout
    assert names(tmp_path) == []


@pytest.mark.fault
def test_second_writer_is_refused_and_told_who_writes(tmp_path):
    path = tmp_path / "a.zarr"
    with (
        writer_lock(path),
        pytest.raises(BlockingIOError, match=rf"a\.zarr is being written by process {os.getpid()}"),
        writer_lock(path),
    ):
        pass
    with writer_lock(path):
        pass
    assert names(tmp_path) == []


@pytest.mark.fault
def test_a_file_system_without_locks_is_written_to_and_never_tidied(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = tmp_path / f"out.partial-{2**22 + 1}"
    with writer_lock(tmp_path / "out"):
        left.write_text("of a writer on another machine, perhaps")
        remove_leftovers(tmp_path)
        assert left.exists()
    assert names(tmp_path) == [left.name]


@pytest.mark.fault
def test_lock_of_a_killed_process_is_recovered(tmp_path):
    path = tmp_path / "a.zarr"
    code = (
        "import sys, time\n"
        "from surform.data.atomic import writer_lock\n"
        "with writer_lock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match=f"process {child.pid}"), writer_lock(path):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert (tmp_path / "a.zarr.lock").exists()
    started = time.monotonic()
    with writer_lock(path):
        assert time.monotonic() - started < 5
    assert names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_private_files_and_folders_get_the_permissions_of_new_ones(tmp_path, mask):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "file") as partial:
            partial.touch(mode=0o600)
        with replacing(tmp_path / "folder") as partial:
            partial.mkdir(mode=0o700)
            (partial / "inside").touch(mode=0o600)
            (partial / "public").touch()
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)}
    assert modes == {"file": 0o666 & ~mask, "folder": 0o777 & ~mask}
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "folder").iterdir()} == {0o666 & ~mask}


@pytest.mark.fault
def test_a_file_never_replaces_a_folder(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "precious").write_text("kept")
    file.write_text("kept")
    with (
        pytest.raises(FileExistsError, match="is an existing folder"),
        replacing(folder) as partial,
    ):
        partial.write_text("new")
    with pytest.raises(FileExistsError, match="is an existing file"), replacing(file) as partial:
        partial.mkdir()
    with pytest.raises(FileExistsError, match=r"--report .*folder is an existing folder"):
        refuse_folder(folder, "--report")
    assert (folder / "precious").read_text() == file.read_text() == "kept"
    assert names(tmp_path) == ["file", "folder"]


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.fault
def test_what_killed_writers_left_goes_with_the_next_one(tmp_path):
    pid = dead_process()
    (tmp_path / f"a.zarr.partial-{pid}").mkdir()
    (tmp_path / f"a.zarr.partial-{os.getpid()}").mkdir()
    (tmp_path / f"b.zarr.partial-{pid}").mkdir()
    with writer_lock(tmp_path / "a.zarr"):
        left = {f"a.zarr.partial-{os.getpid()}", f"b.zarr.partial-{pid}", "a.zarr.lock"}
        assert set(names(tmp_path)) == left


@pytest.mark.fault
def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path):
    pid = dead_process()
    for name in (f"a.zarr.partial-{pid}", f"a.zarr.partial-{pid}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name[-3:]).write_text("")
    with writer_lock(tmp_path / "a.zarr"):
        assert names(tmp_path) == ["a.zarr", "a.zarr.lock"]
        assert names(tmp_path / "a.zarr") == [str(pid)[-3:]]


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A folder that nothing may be written in, whoever runs the tests."""
    folder = tmp_path / "locked"
    folder.mkdir()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and may(path, mode))
    return folder


SAID = r"a\.zarr may not be written: there is no permission to write in the folder .*locked$"


@pytest.mark.fault
def test_where_nothing_may_be_written_is_told_before_anything_is_made(locked):
    for act in (
        lambda path: check_writable(path),
        lambda path: refuse_folder(path, "--out"),
        lambda path: check_output(path, []),
    ):
        for path in (locked / "a.zarr", locked / "new" / "a.zarr"):
            with pytest.raises(PermissionError, match=SAID):
                act(path)
    with pytest.raises(PermissionError, match=r"--out .*locked may not be written"):
        check_writable(locked, "--out", inside=True)
    check_writable(locked)  # it is its parent that changes when it is replaced
    check_writable(locked.anchor)  # which nothing is above
    (locked.parent / "file").write_text("")
    below = locked.parent / "file" / "a.zarr"
    for act in (check_writable, lambda path: refuse_folder(path, "--out")):
        with pytest.raises(
            NotADirectoryError, match=r"cannot be written: .*file is a file, not a fold"
        ):
            act(below)


@pytest.mark.fault
def test_a_refusal_of_the_system_names_the_output_not_what_is_beside_it(locked):
    denied = PermissionError(errno.EACCES, "Permission denied", str(locked / "a.zarr.partial-1"))
    with pytest.raises(PermissionError, match=SAID):
        write_half(locked / "a.zarr", denied)
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "input.nc")
    with pytest.raises(PermissionError, match=r"Permission denied: 'input\.nc'"):
        write_half(locked.parent / "b.txt", elsewhere)


@pytest.mark.fault
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everything")
def test_a_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for name in ("a.zarr", "new/a.zarr"):
        with pytest.raises(PermissionError, match=SAID):
            write_half(folder / name, KeyError("never reached"))
        with pytest.raises(PermissionError, match=SAID), writer_lock(folder / name):
            pass
