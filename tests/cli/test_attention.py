"""`surform attention`: what is chosen, what is refused, and where models go their own way."""

from __future__ import annotations

import pytest

from surform import attention
from surform.cli import main

SMALL = ["--tokens", "16", "--heads", "2", "--width", "4", "--repeats", "1"]


def test_a_kernel_that_was_asked_for_and_cannot_run_is_named_with_its_reason(capsys):
    with attention.use(softmax="flex"):
        assert main(["attention", "softmax", "--device", "cpu", *SMALL]) == 2
    error = capsys.readouterr().err
    assert "'flex' was asked for but cannot run: runs on CUDA only" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["additive", "delta", "knn", "lsh", "multiresolution", "spectral"])
def test_efficient_kinds_are_timed_with_their_gradients(kind, capsys):
    assert main(["attention", kind, "--device", "cpu", "--backward", *SMALL]) == 0
    assert "chosen: " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("kind", ["axial", "normalized_linear"])
def test_the_chosen_kernel_is_named(kind, capsys):
    assert main(["attention", kind, "--grid", "6x5", "--device", "cpu", *SMALL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "chosen: " in out
    assert ("FactFormer layers on a CPU" in out) == (kind == "axial")
