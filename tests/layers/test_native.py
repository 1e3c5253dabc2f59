"""Native kernels: built once, and what happens where they cannot be built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from surform.layers import native

PROGRAM = """
import torch
from surform.layers import native
assert native.library() is not None, native.reason()
print(native.library().surform_panel())
"""


@pytest.fixture(autouse=True)
def fresh():
    native._found.cache_clear()
    yield
    native._found.cache_clear()


def served() -> bool:
    return native.serves(torch.ones(2, 64), [64])


def test_is_there_or_says_why():
    assert (native.library() is None) == (native.reason() is not None)
    assert served() == (native.reason() is None)


def test_serves_whole_panels_of_float32():
    if native.library() is None:
        pytest.skip(str(native.reason()))
    assert not native.serves(torch.ones(2, 64), [64, 33])
    assert not native.serves(torch.ones(2, 64, dtype=torch.float64), [64])
    assert not native.serves(torch.ones(0, 64), [64])


@pytest.mark.parametrize("value", ["0", "off", "False"])
def test_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv("SURFORM_NATIVE", value)
    assert native.library() is None
    assert "SURFORM_NATIVE" in str(native.reason())
    assert not served()


@pytest.mark.fault
def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not a program" in str(native.reason())
    assert not served()


@pytest.mark.fault
def test_a_compiler_that_fails(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "error: no such thing" in str(native.reason())
    assert not served()
    assert list((tmp_path / "cache").rglob("*.so")) == []


@pytest.mark.fault
def test_a_library_that_cannot_be_loaded(monkeypatch, tmp_path):
    liar = tmp_path / "liar"
    liar.write_text('#!/bin/sh\nfor last; do :; done\necho text > "$last"\n')
    liar.chmod(0o755)
    monkeypatch.setenv("CXX", str(liar))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "cannot be loaded" in str(native.reason())
    assert not served()


@pytest.mark.fault
def test_a_cache_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.reason() is not None
    assert not served()


def test_another_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux only" in str(native.reason())


@pytest.mark.slow
@pytest.mark.skipif(native.reason() is not None, reason="no native kernels")
def test_two_processes_build_at_once(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    results = [one.communicate(timeout=500) for one in both]
    assert [one.returncode for one in both] == [0, 0], results
    folder = tmp_path / "surform" / "native"
    assert [path.suffix for path in folder.iterdir()] == [".so"]


def test_sources_are_beside_the_package():
    names = {path.name for path in native._SOURCE.iterdir()}
    assert {"kernels.cpp", "product.h"} <= names
    assert Path(native.__file__).parents[1] / "native" == native._SOURCE
