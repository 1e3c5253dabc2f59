"""What the parsers of other libraries raise on damaged files, as one sentence with the file."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.cli.fit_config import read_config
from surform.cli.info import _show_run
from surform.cli.run_data import data_of
from surform.data.atoms_arrays import npz_atoms
from surform.data.atoms_files import open_atoms
from surform.data.atoms_source import AtomsReading
from surform.data.clips_tables import table_rows
from surform.data.faults import parsing
from surform.data.images_arrays import open_npz
from surform.data.series_sources import open_table

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (KeyError("shape"), ValueError, "cannot read a.bin, .* KeyError, 'shape'"),
        (zlib.error("invalid block"), ValueError, "cannot read a.bin, .* error, invalid block"),
        (ValueError("bad marshal"), ValueError, "cannot read a.bin, .*kind: bad marshal"),
        (OSError("short read"), OSError, "cannot read a.bin, .*kind: short read"),
        (MemoryError("8 EiB"), ValueError, r"not enough memory for what it says .*\(8 EiB\)"),
        (AssertionError(), ValueError, "another kind: AssertionError"),
        (ValueError("a.bin has no rows"), ValueError, "^a.bin has no rows"),
        (FileNotFoundError("b.bin"), FileNotFoundError, "^b.bin"),
        (ImportError("no lmdb"), ImportError, "^no lmdb"),
    ],
)
def test_every_error_of_a_parser_is_a_sentence(
    error: Exception, raised: type[Exception], message: str
) -> None:
    with pytest.raises(raised, match=message) as caught, parsing("a.bin"):
        raise error
    assert type(caught.value) is raised
    assert "\n" not in str(caught.value)


def broken_npz(path: Path, **arrays: Any) -> Path:
    """A .npz whose table is whole and whose packed numbers are not."""
    np.savez_compressed(path, **arrays)
    content = bytearray(path.read_bytes())
    content[60:100] = b"\xff" * 40
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    "read",
    [
        lambda path: open_table(str(path)),
        open_npz,
        lambda path: npz_atoms(str(path), AtomsReading()),
    ],
)
def test_packed_numbers_that_cannot_be_unpacked(tmp_path: Path, read: Any) -> None:
    path = broken_npz(tmp_path / "a.npz", data=np.random.default_rng(0).random((40, 2)))
    with pytest.raises((ValueError, OSError), match=r"a\.npz"):
        read(path)


def test_tables_of_sounds_that_are_no_text(tmp_path: Path) -> None:
    table = tmp_path / "birds.csv"
    table.write_bytes(b"file,label\n\xff\xfe.wav,a\n")
    with pytest.raises(ValueError, match=r"birds\.csv is no table of text"):
        table_rows(table, tmp_path, 1)


@pytest.mark.parametrize("opening", ["[", "{", "- ", '{"a":'])
def test_recipes_of_endless_brackets(tmp_path: Path, opening: str) -> None:
    (tmp_path / "deep.yaml").write_text(f"model: {opening * 3000}")
    with pytest.raises(ValueError, match=r"deep\.yaml"):
        read_config(str(tmp_path / "deep.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is no YAML that can be read"),
        ("model: {}", "does not say with which class"),
        ("data: {class_path: 3, init_args: {}}", ""),
        (
            "data: {class_path: surform.data.fields_module.FieldsData, init_args: {}}",
            "missing 3 required",
        ),
    ],
)
def test_runs_with_a_damaged_configuration(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml.*{message}"):
        data_of(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[1]", "9" * 5000])
def test_runs_with_a_damaged_summary(tmp_path: Path, text: str) -> None:
    from rich.console import Console

    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"summary\.json"):
        _show_run(Console(quiet=True), tmp_path)


def test_atoms_so_far_away_that_the_search_for_neighbours_would_crash(tmp_path: Path) -> None:
    path = tmp_path / "far.xyz"
    path.write_text(f"2\nenergy=1\nH 0 0 0\nH 0 0 {2**64}\n")
    with pytest.raises(ValueError, match=r"far\.xyz, structure 0 has an atom .* within 1e\+06"):
        open_atoms(path, AtomsReading(targets=())).read(0)
