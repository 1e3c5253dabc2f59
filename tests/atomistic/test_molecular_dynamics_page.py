"""The guide to running potentials can be typed as it stands, with a small potential."""

from __future__ import annotations

import pytest
from ase.io import read, write

from surform.cli import main
from tests.atomistic.potentials import ethanol, potential
from tests.test_docs import blocks, commands

PAGE = "docs/molecular-dynamics.md"
SHORTER = {"2000": "40"}  # steps


@pytest.mark.slow
def test_the_guide_to_molecular_dynamics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    potential().float().save_pretrained("runs/ethanol/model")
    other = ethanol()
    other.rattle(0.05, seed=0)
    write("start.extxyz", [ethanol(), other])
    names: dict[str, object] = {}
    done = set()
    for language, text in blocks(PAGE):
        if language == "python":
            exec(compile(text, PAGE, "exec"), names)
            continue
        for words in commands(text):
            code = main([SHORTER.get(word, word) for word in words])
            # a random potential is too rough for molecules to come to rest in
            assert code == 0 or (words[0] == "relax" and code == 1)
            done.add(words[0])
    assert done == {"relax", "md", "symmetry"}
    assert len(read("traj.extxyz", index=":")) == 5
