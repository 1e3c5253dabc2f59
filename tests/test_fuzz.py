"""The fuzzing command: damage that can be repeated, what it notices, some inputs of each format."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz.formats import Format, find, names
from benchmarks.fuzz.mutations import mutated, read_tree, write_tree
from benchmarks.fuzz.runner import fuzz
from benchmarks.fuzz.verdict import fault_of

INPUTS = 20


def write(folder: Path) -> Path:
    (folder / "numbers.json").write_text(json.dumps({"a": [1, 2, 3], "b": {"c": "text"}}))
    (folder / "numbers.csv").write_text("time,a\n0,1.5\n1,2.5\n")
    (folder / "numbers.bin").write_bytes(bytes(range(256)) * 4)
    return folder / "numbers.json"


def count(read: Any, seeds: range = range(6), limit: float = 10.0) -> Any:
    return fuzz("numbers", Format(write, read, ("a",)), seeds, limit)


def test_a_seed_always_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    write(tmp_path)
    tree = read_tree(tmp_path)
    found = [mutated(tree, "numbers", seed) for seed in range(300)]
    assert found == [mutated(tree, "numbers", seed) for seed in range(300)]
    assert found[:20] != [mutated(tree, "others", seed) for seed in range(20)]
    assert len({repr(each) for each in found}) > 250
    assert sum(each == tree for each in found) < 15
    assert all(any(each.get(name) != tree[name] for each in found) for name in tree)
    missing = [each for each in found if len(each) < len(tree)]
    folders = [each for each in found if None in each.values()]
    assert missing
    assert folders
    write_tree(tmp_path / "again", folders[0])
    assert read_tree(tmp_path / "again") == folders[0]


def test_numbers_that_no_float_holds_are_changed_too() -> None:
    tree = {"numbers.json": json.dumps({"a": 10**400, "b": [-(10**400)]}).encode()}
    found = [mutated(tree, "numbers", seed) for seed in range(300)]
    assert sum(each != tree for each in found) > 250


def test_what_is_no_fault_is_counted(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError, OSError) as error:
            raise ValueError(f"{path} is no JSON") from error

    found = count(read, range(60))
    assert (found.inputs, found.findings) == (60, [])
    assert found.read > 5
    assert found.refused > 5
    assert found.read + found.refused == 60


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyError("a"), "a traceback, KeyError"),
        (RecursionError("too deep"), "a traceback, RecursionError"),
        (ValueError(""), "no message"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "names neither"),
        (ValueError("invalid literal for int()"), "names neither"),
        (ValueError("the column a has no numbers"), None),
        (OSError("[Errno 21] Is a directory: '/tmp/numbers.json'"), None),
    ],
)
def test_what_counts_as_a_sentence(error: Exception, why: str | None) -> None:
    found = fault_of(error, Path("/tmp/numbers.json"), ("a",))
    assert found is None if why is None else (found or "").startswith(why)


def raise_key_error() -> None:
    raise KeyError("lengths")


@pytest.mark.fault
def test_a_key_error_is_found_and_can_be_repeated() -> None:
    found = count(lambda path: raise_key_error())
    assert [seed for seed, _ in found.findings] == [*range(6)]
    assert found.findings[0][1] == "a traceback, KeyError: 'lengths'"
    assert list(found.kinds().values()) == [(6, 0, found.findings[0][1])]


@pytest.mark.fault
def test_a_crash_is_found_and_the_next_input_is_read() -> None:
    def read(path: Path) -> None:
        if path.read_bytes() != b'{"a": [1, 2, 3], "b": {"c": "text"}}':
            os.kill(os.getpid(), signal.SIGSEGV)

    found = count(read, range(12))
    assert found.inputs == 12
    assert found.read
    assert found.read + len(found.findings) == 12
    assert {text for _, text in found.findings} == {"a crash, SIGSEGV"}


@pytest.mark.fault
def test_a_hang_is_found_and_the_next_input_is_read() -> None:
    found = count(lambda path: time.sleep(60), range(2), limit=0.3)
    assert found.findings == [(seed, "a hang, longer than 0.3 s") for seed in range(2)]


@pytest.mark.fault
def test_a_reader_that_takes_all_memory_is_found() -> None:
    found = count(lambda path: bytes(64 * 2**30), range(2))
    assert [text[:23] for _, text in found.findings] == ["a traceback, MemoryError"[:23]] * 2


@pytest.mark.fault
def test_files_that_are_left_behind_are_found() -> None:
    def read(path: Path) -> None:
        (path.parents[1] / "evil.txt").write_text("outside")

    found = count(read, range(2))
    assert [text for _, text in found.findings] == ["left files behind, evil.txt"] * 2


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_damaged_files_are_read_or_refused_in_a_sentence(name: str) -> None:
    form = find(name)
    if form.lacks():
        pytest.skip(f"needs {', '.join(form.lacks())}")
    found = fuzz(name, form, range(INPUTS), limit=60)
    assert found.findings == []
    assert found.read >= 1  # the sound sample is one of them
    assert found.read + found.refused == INPUTS
