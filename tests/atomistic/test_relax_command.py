"""`surform relax`: a file of structures in, one with those at rest out."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read, write

from surform.cli import main
from tests.atomistic.potentials import crystal, potential


@pytest.fixture
def saved(tmp_path):
    potential().float().save_pretrained(tmp_path / "model")
    still = [crystal(), crystal()]
    still[1].rattle(0.05, seed=0)
    write(tmp_path / "start.extxyz", still)
    return tmp_path


def command(folder, *words):
    return main(["relax", *words, "--model", str(folder / "model")])


def test_structures_come_to_rest_and_are_written_with_what_is_known(saved, capsys):
    out, path = str(saved / "out.extxyz"), str(saved / "path.extxyz")
    words = [str(saved / "start.extxyz"), "--out", out, "--fmax", "0.5"]
    assert command(saved, *words, "--dtype", "float64", "--trajectory", path) == 0
    assert "2 of 2 came to rest" in capsys.readouterr().out
    found = read(out, index=":")
    start = read(saved / "start.extxyz", index=":")
    for after, before in zip(found, start, strict=True):
        assert after.info["converged"]
        assert np.linalg.norm(after.get_forces(), axis=1).max() < 0.5
        assert np.isfinite(after.get_stress()).all()
        assert np.array_equal(after.cell.array, before.cell.array)
    frames = read(path, index=":")
    assert len(frames) == sum(each.info["steps"] + 1 for each in found)
    np.testing.assert_allclose(frames[0].positions, start[0].positions, atol=1e-8)


def test_structures_that_do_not_come_to_rest_are_named(saved, capsys):
    out = saved / "out.extxyz"
    words = [str(saved / "start.extxyz"), "--out", str(out), "--fmax", "1e-5", "--steps", "2"]
    assert command(saved, *words, "--index", "1") == 1
    assert "structure 0 (MgOSi) did not, after 2 steps" in capsys.readouterr().out
    assert not read(out).info["converged"]


@pytest.mark.fault
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(saved, capsys):
    start, out = str(saved / "start.extxyz"), str(saved / "out.extxyz")
    (saved / "bad.extxyz").write_text("3\nno structure\n")
    for words, message in (
        ([str(saved / "none.xyz"), "--out", out], "there is no file"),
        ([str(saved / "bad.extxyz"), "--out", out], "ASE cannot read"),
        ([start, "--out", out, "--index", "7:"], "has no structures 7:"),
        ([start, "--out", out, "--index", "7"], "has no structures 7"),
        ([start, "--out", out, "--device", "abacus"], "device 'abacus' cannot be used: "),
        ([start, "--out", out, "--index", "a"], "neither a number nor a slice"),
        ([start, "--out", start], "would replace the file that is read"),
        ([start, "--out", str(saved / "out.strange")], ".extxyz, say"),
        ([start, "--out", str(saved)], "existing folder"),
        ([start, "--out", str(saved / "out.vasp")], "vasp holds one structure, not 2"),
        ([start, "--out", out, "--trajectory", str(saved / "p.vasp")], "vasp holds one structure"),
        ([start, "--out", str(saved / "out.extxyz.gz")], "nothing is compressed here"),
        ([start, "--out", out, "--fmax", "-1"], "positive force"),
    ):
        assert command(saved, *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (saved / "out.extxyz").exists()
