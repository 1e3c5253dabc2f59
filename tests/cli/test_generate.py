from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
import xarray as xr

from surform.cli import generate as command
from surform.cli.main import main

SMALL = "--points 32 --modes 32 --dt 0.05"


def run(line):
    return main(["generate", *shlex.split(line)])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_example_of_the_help_works(capsys):
    assert main(shlex.split(command.EXAMPLE)[1:]) == 0
    assert capsys.readouterr().out == "wrote flow.zarr\n"
    with xr.open_zarr("flow.zarr") as data:
        assert data.vorticity.shape == (8, 20, 32, 32)


def test_options_are_passed_with_their_types(tmp_path):
    line = (
        f"burgers --out b.h5 --samples 3 --seed 2 --batch 2 --dtype float64 {SMALL} --end_time=0.5"
    )
    assert run(line) == 0
    with xr.open_dataset("b.h5") as data:
        assert data.u.shape == (3, 32)
        assert str(data.u.dtype) == "float64"
        parameters = json.loads(data.attrs["parameters"])
        stored = data.attrs["command"]
    assert parameters["points"] == 32
    assert parameters["end_time"] == 0.5
    # the stored command makes the same file
    assert main(shlex.split(stored.replace("b.h5", "again.h5"))[1:]) == 0
    with xr.open_dataset("b.h5") as one, xr.open_dataset("again.h5") as two:
        xr.testing.assert_equal(one, two)


def test_common_options_may_stand_before_the_name():
    assert run(f"--out b.zarr --samples 2 burgers {SMALL}") == 0
    assert run(f"burgers {SMALL} --out b.zarr --samples 2") == 0


def test_complete_file_is_reported(capsys):
    line = f"burgers --out b.zarr --samples 2 {SMALL}"
    assert run(line) == 0
    assert run(line) == 0
    assert capsys.readouterr().out == "wrote b.zarr\nb.zarr is already complete\n"
    assert run(f"{line} --seed 3 --overwrite") == 0
    assert capsys.readouterr().out == "wrote b.zarr\n"


def test_shards_are_made_and_joined(capsys):
    line = f"burgers --out b.zarr --samples 4 --batch 2 {SMALL}"
    assert run(f"{line} --shard 0/2") == 0
    assert run(f"{line} --shard 1/2") == 0
    assert run("--join --out b.zarr") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "wrote b.zarr"
    with xr.open_zarr("b.zarr") as joined:
        assert joined.u.shape == (4, 32)


def test_list_describes_every_solver(capsys):
    from surform.data.solvers import SOLVERS

    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in SOLVERS:
        (line,) = (text for text in lines if text.startswith(f"{name} "))
        assert len(line) > len(name) + 20


@pytest.mark.parametrize("name", ["kolmogorov", "darcy", "smoke"])
def test_help_of_a_solver_describes_every_option(capsys, name):
    from surform.data.solvers.options import solver_options

    assert run(f"{name} --help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in solver_options(name).values():
        assert f"--{option.name.replace('_', '-')}" in text
        assert option.help
        assert option.help.rstrip(".") in text
    assert f"surform generate {name} --out" in text


def test_every_solver_documents_its_options_and_has_a_summary():
    from surform.data.solvers import SOLVERS
    from surform.data.solvers.options import solver_options, summary

    for name in SOLVERS:
        assert len(summary(name)) > 20
        for option in solver_options(name).values():
            assert option.help, (name, option.name)


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom surform.cli.main import main\n"
        "main(['generate', '--help'])\nprint('torch' in sys.modules, 'zarr' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
    assert command.EXAMPLE in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "which solver? NAME is one of burgers, channel, clicks, darcy"),
        ("kolmogorow --out a.zarr --samples 1", "did you mean kolmogorov?"),
        ("burgers --samples 1", "--out is missing"),
        ("burgers --out a.zarr", "--samples is missing"),
        ("burgers --out a.zarr --samples 1 --viscosty 1", "did you mean --viscosity?"),
        ("burgers --out a.zarr --sample 1", "did you mean --samples?"),
        ("burgers --out a.zarr --samples one", "invalid int value: 'one'"),
        ("burgers --out a.zarr --samples 1 --dt soon", "dt is 'soon', but it must be a number"),
        ("burgers --out a.zarr --samples 1 --shard 3", "--shard is '3', but it must look like 0/8"),
        ("darcy --out a.zarr --samples 1 --coefficient wavy", "'piecewise' or 'lognormal'"),
        ("burgers --out a.txt --samples 1", "a.txt must end in one of .zarr"),
        ("--join", "--out is missing"),
        ("--join --out a.zarr", "no parts a.shard-<i>-of-<n>.zarr"),
        ("burgers --out a.zarr --samples 1 --device warp", "device 'warp' cannot be used"),
    ],
)
def test_bad_lines_are_one_sentence_with_exit_code_2(capsys, tmp_path, line, message):
    assert run(line) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_solver_on_meshes_is_generated_like_the_others(capsys):
    pytest.importorskip("skfem")
    line = "elasticity --size 0.3 --hole-size 0.1 --out e.h5 --samples 2 --workers 1"
    assert run(line) == 0
    assert capsys.readouterr().out == "wrote e.h5\n"
    with xr.open_dataset("e.h5") as data:
        assert data.sizes["sample"] == 2
        assert json.loads(data.attrs["parameters"])["hole_size"] == 0.1
    assert run("burgers --out b.zarr --samples 2 --workers 2") == 2
    assert "workers is 2, but burgers computes its samples together" in capsys.readouterr().err
