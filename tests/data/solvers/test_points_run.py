from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr

pytest.importorskip("skfem")

from surform.data.points_selection import PointsSelection
from surform.data.points_xarray import StoredPoints
from surform.data.provision import provide
from surform.data.solvers import points_partial
from surform.data.solvers.generate import generate
from surform.data.solvers.shards import join

SMALL = {"size": 0.3, "hole_size": 0.1}


def cells(out, samples=5, **options):
    return generate("elasticity", out, samples, **{"batch": 2, **SMALL, **options})


def load(path):
    opened = xr.open_zarr(path) if path.suffix == ".zarr" else xr.open_dataset(path)
    with opened as data:
        return data.load()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".nc"])
def test_files_hold_samples_units_and_provenance(tmp_path, suffix):
    path = cells(tmp_path / f"cells{suffix}", 5, seed=4)
    data = load(path)
    assert data.sizes["sample"] == 5
    assert data.row_size.sum() == data.sizes["point"]
    assert data.stress.dims == ("point",)
    assert data.stress.dtype == np.float32
    assert data.hole_x.dims == ("hole_point",)
    assert data.x.attrs["units"] == "1"
    assert data.attrs["solver"] == "elasticity"
    assert json.loads(data.attrs["parameters"])["size"] == 0.3
    assert data.attrs["seed"] == 4
    assert data.attrs["command"].startswith("surform generate elasticity --out")
    assert names(tmp_path) == [f"cells{suffix}"]
    stored = StoredPoints(str(path), PointsSelection())
    assert stored.about.targets == ("stress", "u_x", "u_y")
    assert stored.about.inputs == {"hole": ("x", "y")}
    assert stored.about.weighted == ("points", "hole")
    assert 0.5 < stored.read(3).weights.sum() < 0.9


def test_zarr_and_hdf5_hold_the_same_numbers(tmp_path):
    one, two = load(cells(tmp_path / "a.zarr")), load(cells(tmp_path / "a.h5"))
    xr.testing.assert_equal(one, two)


def test_samples_are_functions_of_seed_and_number(tmp_path):
    few = StoredPoints(str(cells(tmp_path / "a.zarr", 3)), PointsSelection())
    many = StoredPoints(str(cells(tmp_path / "b.zarr", 6, batch=4)), PointsSelection())
    other = StoredPoints(str(cells(tmp_path / "c.zarr", 3, seed=1)), PointsSelection())
    for number in range(3):
        np.testing.assert_array_equal(few.read(number).points, many.read(number).points)
        np.testing.assert_array_equal(few.read(number).targets, many.read(number).targets)
        assert (few.read(number).inputs["hole"] != other.read(number).inputs["hole"]).all()


def test_workers_change_no_bit_and_progress_rises_to_one(tmp_path):
    seen: list[float] = []
    one = load(cells(tmp_path / "a.zarr"))
    two = load(cells(tmp_path / "b.zarr", workers=2, progress=seen.append))
    xr.testing.assert_equal(one, two)
    assert seen == sorted(seen)
    assert len(seen) == 6
    assert seen[-1] == 1.0


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_joined_shards_equal_the_whole(tmp_path, suffix):
    whole = load(cells(tmp_path / f"whole{suffix}"))
    for i in range(3):
        cells(tmp_path / f"a{suffix}", shard=(i, 3))
    joined = load(join(tmp_path / f"a{suffix}"))
    xr.testing.assert_equal(joined, whole)
    assert joined.attrs["shard"] == "0/1"
    assert cells(tmp_path / f"a{suffix}") == tmp_path / f"a{suffix}"


def stop_after(monkeypatch, samples, error):
    append, count = points_partial.PointsWriter.append, 0

    def stopping(self, sample):
        nonlocal count
        count += 1
        if count > samples:
            raise error
        append(self, sample)

    monkeypatch.setattr(points_partial.PointsWriter, "append", stopping)


@pytest.mark.fault
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_a_stopped_run_is_continued_bit_for_bit(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    with monkeypatch.context() as patch:
        stop_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            cells(path)
    assert names(tmp_path) == [f"a{suffix}.partial"]
    seen: list[float] = []
    cells(path, progress=seen.append)
    assert seen[0] == pytest.approx(3 / 5)  # a block of two was on disk
    xr.testing.assert_equal(load(path), load(cells(tmp_path / f"whole{suffix}")))


@pytest.mark.fault
@pytest.mark.slow
def test_a_killed_run_leaves_no_processes_and_is_continued_bit_for_bit(tmp_path):
    code = (
        "import sys\n"
        "from surform.data.solvers.generate import generate\n"
        "if __name__ == '__main__':\n"
        "    generate('elasticity', sys.argv[1], 30, batch=2, workers=2, size=0.2, hole_size=0.1)\n"
    )
    script, path = tmp_path / "make.py", tmp_path / "a.zarr"
    script.write_text(code)
    child = subprocess.Popen([sys.executable, str(script), str(path)])
    sizes = tmp_path / "a.zarr.partial" / "data.zarr" / "row_size" / "zarr.json"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        # an array has its new shape before its new values: only these say that samples are whole
        if sizes.exists() and (zarr.open_array(sizes.parent, mode="r")[:] > 0).sum() >= 4:
            break
        time.sleep(0.01)
    workers = descendants(child.pid)
    child.kill()
    assert child.wait() == -9
    assert len(workers) >= 2
    assert not path.exists()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(map(alive, workers)):
        time.sleep(0.05)
    assert not any(map(alive, workers))
    seen: list[float] = []
    generate("elasticity", path, 30, batch=2, size=0.2, hole_size=0.1, progress=seen.append)
    assert seen[0] > 4 / 30
    xr.testing.assert_equal(
        load(path),
        load(generate("elasticity", tmp_path / "whole.zarr", 30, size=0.2, hole_size=0.1)),
    )


@pytest.mark.fault
@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_sentence_and_the_run_goes_on(tmp_path):
    def kill(fraction):
        for process in multiprocessing.active_children():
            process.kill()

    path = tmp_path / "a.zarr"
    with pytest.raises(OSError, match=r"elasticity: a worker process was ended .* fewer workers"):
        cells(path, 30, workers=2, progress=kill)
    assert not path.exists()
    cells(path, 30)
    xr.testing.assert_equal(load(path), load(cells(tmp_path / "whole.zarr", 30)))


def descendants(process):
    import psutil

    return [child.pid for child in psutil.Process(process).children(recursive=True)]


def alive(process):
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.fault
def test_a_kill_while_the_result_is_named_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"

    def die(partial, final):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(points_partial, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            cells(path)
    with monkeypatch.context() as patch:
        stop_after(patch, 0, AssertionError("made again"))
        cells(path)
    xr.testing.assert_equal(load(path), load(cells(tmp_path / "whole.zarr")))
    assert names(tmp_path) == ["a.zarr", "whole.zarr"]


@pytest.mark.fault
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_a_full_disk_leaves_nothing_under_the_name_and_is_recovered(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    with monkeypatch.context() as patch:
        stop_after(patch, 3, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(OSError, match=r"no space left to write .* run the same again"):
            cells(path)
    assert not path.exists()
    cells(path)
    xr.testing.assert_equal(load(path), load(cells(tmp_path / f"whole{suffix}")))


@pytest.mark.fault
def test_other_requests_than_those_of_the_file_are_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            cells(tmp_path / "a.zarr")
    with pytest.raises(FileExistsError, match=r"was begun with size 0\.3, but size 0\.2 is asked"):
        cells(tmp_path / "a.zarr", size=0.2)
    path = cells(tmp_path / "a.zarr", size=0.2, overwrite=True)
    before = path.stat().st_mtime_ns
    assert cells(path, size=0.2, workers=2) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="exists with seed 0, but seed 3"):
        cells(path, size=0.2, seed=3)
    with pytest.raises(FileExistsError, match="with solver 'elasticity', but solver 'ns2d-c'"):
        generate("ns2d-c", path, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1}, "elasticity, sample 0: size is -1.0, but it must be a number above 0"),
        ({"sise": 1}, "unknown option of elasticity 'sise': did you mean size"),
        ({"device": "cuda:0"}, "elasticity computes on the CPU only"),
        ({"device": "meta"}, "elasticity computes on the CPU only"),
        ({"workers": 0}, "workers is 0, but it must be at least 1"),
        ({"out": "a.csv"}, "a.csv must end in one of .zarr, .h5"),
    ],
)
def test_bad_requests_are_one_sentence_and_leave_nothing(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as raised:
        cells(**{"out": "a.zarr", "samples": 2, **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert names(tmp_path) == []


def test_workers_are_for_solvers_on_meshes_only(tmp_path):
    with pytest.raises(ValueError, match="workers is 2, but burgers computes its samples together"):
        generate("burgers", tmp_path / "a.zarr", 2, workers=2)


def test_a_missing_extra_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(ImportError, match=r'elasticity needs skfem: pip install "surform\[mesh\]"'):
        cells(tmp_path / "a.zarr")
    assert names(tmp_path) == []


def test_listing_solvers_needs_no_extra():
    code = (
        "import sys\n"
        "sys.modules['skfem'] = sys.modules['scipy'] = None\n"
        "from surform.cli.main import main\n"
        "assert main(['generate', '--list']) == 0\n"
        "assert main(['generate', 'ns2d-c', '--help']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Velocity u, v and pressure p of steady flow past 4 circles" in done.stdout
    assert "--radius-max" in done.stdout


def test_recipes_may_name_workers_at_every_start(tmp_path):
    options = {"solver": "elasticity", "samples": 2, "workers": 1, "progress": False, **SMALL}
    path = tmp_path / "a.zarr"
    provide(str(path), options)
    made = path.stat().st_mtime_ns
    provide(str(path), options)
    assert path.stat().st_mtime_ns == made
    with pytest.raises(FileExistsError, match="exists with samples 2, but samples 3"):
        provide(str(path), {**options, "samples": 3})
