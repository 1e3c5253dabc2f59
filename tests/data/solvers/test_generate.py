from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr

from surform.data.atomic import writer_lock
from surform.data.solvers import partial as partial_module
from surform.data.solvers.generate import generate

SMALL = {"points": 32, "modes": 32, "dt": 0.02, "viscosity": 0.02}
FLOW = {
    "grid": 16,
    "frames": 5,
    "dt_frame": 0.1,
    "spin_up": 0.2,
    "forcing_wavenumber": 2,
    "dt": 0.05,
}


def burgers(out, samples=7, **options):
    return generate("burgers", out, samples, **{"batch": 2, **SMALL, **options})


def load(path):
    opened = xr.open_zarr(path) if path.suffix == ".zarr" else xr.open_dataset(path)
    with opened as data:
        return data.load()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".nc"])
def test_xarray_reads_axes_units_and_provenance(tmp_path, suffix):
    data = load(generate("kolmogorov", tmp_path / f"flow{suffix}", 3, seed=5, batch=2, **FLOW))
    assert data.vorticity.dims == ("sample", "time", "x", "y")
    assert data.vorticity.shape == (3, 5, 16, 16)
    assert data.vorticity.dtype == np.float32
    assert data.vorticity.attrs["units"] == data.x.attrs["units"] == data.time.attrs["units"] == "1"
    assert data.x.attrs["periodic"] == data.y.attrs["periodic"] == 1
    np.testing.assert_allclose(data.x, 2 * np.pi * np.arange(16) / 16)
    np.testing.assert_allclose(data.time, 0.1 * np.arange(5))
    np.testing.assert_array_equal(data.sample, [0, 1, 2])
    assert data.attrs["solver"] == "kolmogorov"
    parameters = json.loads(data.attrs["parameters"])
    assert parameters["grid"] == 16
    assert parameters["reynolds"] == 1000.0
    assert data.attrs["seed"] == 5
    assert data.attrs["dtype"] == "float32"
    assert data.attrs["format_version"] == 1
    assert data.attrs["surform_version"]
    assert data.attrs["command"].startswith("surform generate kolmogorov --out")
    assert names(tmp_path) == [f"flow{suffix}"]


def test_zarr_and_hdf5_hold_the_same_numbers(tmp_path):
    one, two = load(burgers(tmp_path / "a.zarr")), load(burgers(tmp_path / "a.h5"))
    xr.testing.assert_equal(one, two)


def test_same_seed_same_bits_other_seed_other_numbers(tmp_path):
    one, two = (
        load(burgers(tmp_path / "a.zarr", seed=1)),
        load(burgers(tmp_path / "b.zarr", seed=1)),
    )
    xr.testing.assert_equal(one, two)
    other = load(burgers(tmp_path / "c.zarr", seed=2))
    assert float(abs(one.u0 - other.u0).max()) > 0.1


def test_samples_do_not_depend_on_how_many_there_are(tmp_path):
    few, many = load(burgers(tmp_path / "a.zarr", 4)), load(burgers(tmp_path / "b.zarr", 9))
    xr.testing.assert_equal(few, many.isel(sample=slice(4)))


@pytest.mark.parametrize("name", ["burgers", "darcy", "kolmogorov"])
def test_batch_changes_nothing_but_round_off(tmp_path, name):
    options = {
        "burgers": SMALL,
        "darcy": {"grid": 17, "stride": 2},
        "kolmogorov": {**FLOW, "dtype": "float64"},
    }[name]
    one = load(generate(name, tmp_path / "a.zarr", 5, batch=1, **options))
    two = load(generate(name, tmp_path / "b.zarr", 5, batch=5, **options))
    for variable in one.data_vars:
        np.testing.assert_allclose(one[variable], two[variable], rtol=1e-5, atol=1e-7)


def test_dtype_is_what_is_stored(tmp_path):
    data = load(burgers(tmp_path / "a.zarr", dtype="float64"))
    assert {str(v.dtype) for v in data.data_vars.values()} == {"float64"}


def test_chunks_never_cross_blocks(tmp_path):
    data = load(burgers(tmp_path / "a.zarr", 12, batch=6))
    assert 6 % data.u.encoding["chunks"][0] == 0
    large = {**FLOW, "grid": 128, "frames": 40, "dt_frame": 0.002, "spin_up": 0.0}
    flow = load(generate("kolmogorov", tmp_path / "b.zarr", 2, **large))
    assert flow.vorticity.encoding["chunks"] == (1, 16, 128, 128)


def test_progress_rises_to_one(tmp_path):
    seen: list[float] = []
    burgers(tmp_path / "a.zarr", progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == 1.0


# -- shards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_joined_shards_equal_the_whole(tmp_path, suffix):
    from surform.data.solvers.shards import join

    whole = load(burgers(tmp_path / f"whole{suffix}"))
    for i in range(3):
        path = burgers(tmp_path / f"a{suffix}", shard=(i, 3))
        assert path.name == f"a.shard-{i}-of-3.zarr"
    joined = load(join(tmp_path / f"a{suffix}"))
    xr.testing.assert_equal(joined, whole)
    assert joined.attrs["parameters"] == whole.attrs["parameters"]
    assert joined.attrs["shard"] == "0/1"
    # the joined file is what an unsharded run would have made
    assert burgers(tmp_path / f"a{suffix}") == tmp_path / f"a{suffix}"


@pytest.mark.fault
def test_join_names_a_missing_part(tmp_path):
    from surform.data.solvers.shards import join

    with pytest.raises(FileNotFoundError, match=r"no parts a\.shard"):
        join(tmp_path / "a.zarr")
    burgers(tmp_path / "a.zarr", shard=(0, 2))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 parts are missing: a\.shard-1-of-2\.zarr"):
        join(tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.fault
def test_join_refuses_parts_of_different_data(tmp_path):
    from surform.data.solvers.shards import join

    burgers(tmp_path / "a.zarr", shard=(0, 2), seed=1)
    burgers(tmp_path / "a.zarr", shard=(1, 2), seed=2)
    with pytest.raises(ValueError, match=r"has seed 1, but .* has 2"):
        join(tmp_path / "a.zarr")
    burgers(tmp_path / "a.zarr", shard=(1, 3), seed=2)
    with pytest.raises(ValueError, match="2 and 3 shards"):
        join(tmp_path / "a.zarr")


def test_empty_shard_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"shard 0/9 is empty: 7 samples in batches of 2 .* 4 shards"
    ):
        burgers(tmp_path / "a.zarr", shard=(0, 9))


# -- resuming ----------------------------------------------------------------------------------


def stop_after(monkeypatch, blocks, error):
    write = partial_module.write_block
    count = 0

    def stopping(*args):
        nonlocal count
        count += 1
        if count > blocks:
            raise error
        write(*args)

    monkeypatch.setattr(partial_module, "write_block", stopping)


@pytest.mark.fault
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_stopped_run_is_continued_bit_for_bit(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    with monkeypatch.context() as patch:
        stop_after(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            burgers(path)
    assert names(tmp_path) == [f"a{suffix}.partial"]
    calls: list[float] = []
    burgers(path, progress=calls.append)
    assert calls[0] > 4 / 7  # the two finished blocks were not made again
    xr.testing.assert_equal(load(path), load(burgers(tmp_path / f"whole{suffix}")))


@pytest.mark.fault
def test_killed_run_is_continued_bit_for_bit(tmp_path):
    options = {**FLOW, "frames": 150, "batch": 1}
    code = (
        "import sys, json\n"
        "from surform.data.solvers.generate import generate\n"
        "generate('kolmogorov', sys.argv[1], 12, **json.loads(sys.argv[2]))\n"
    )
    path = tmp_path / "flow.zarr"
    child = subprocess.Popen([sys.executable, "-c", code, str(path), json.dumps(options)])
    note = tmp_path / "flow.zarr.partial" / "progress.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if note.exists() and json.loads(note.read_text())["blocks"] >= 2:
            break
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -9
    assert not path.exists()
    assert json.loads(note.read_text())["blocks"] < 12
    generate("kolmogorov", path, 12, **options)
    whole = load(generate("kolmogorov", tmp_path / "whole.zarr", 12, **options))
    xr.testing.assert_equal(load(path), whole)
    assert names(tmp_path) == ["flow.zarr", "whole.zarr"]


@pytest.mark.fault
def test_a_kill_while_the_result_is_named_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"

    def die(partial, final):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(partial_module, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            burgers(path)
    with monkeypatch.context() as patch:
        stop_after(patch, 0, AssertionError("computed again"))
        burgers(path)
    xr.testing.assert_equal(load(path), load(burgers(tmp_path / "whole.zarr")))


@pytest.mark.fault
def test_a_kill_right_after_the_result_is_named_leaves_nothing(tmp_path):
    path = burgers(tmp_path / "a.zarr")
    (tmp_path / "a.zarr.partial").mkdir()
    (tmp_path / "a.zarr.partial" / "progress.json").write_text("{}")
    burgers(path)
    assert names(tmp_path) == ["a.zarr"]


@pytest.mark.fault
def test_a_chunk_that_was_being_written_is_no_part_of_the_result(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        stop_after(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            burgers(path)
    cut = tmp_path / "a.zarr.partial" / "data.zarr" / "u" / "c" / "2" / "0.5f3a.partial"
    cut.parent.mkdir(parents=True, exist_ok=True)
    cut.write_bytes(b"half")
    burgers(path)
    assert not list(path.rglob("*.partial"))


def test_the_store_is_named_by_a_single_rename(tmp_path, monkeypatch):
    renames, rename = [], os.replace

    def note(old, new):
        renames.append((os.path.basename(old), os.path.basename(new)))
        rename(old, new)

    monkeypatch.setattr(os, "replace", note)
    burgers(tmp_path / "a.zarr")
    assert [old for old, new in renames if new == "a.zarr"] == ["data.zarr"]
    assert not [new for _, new in renames if new.startswith("a.zarr.partial-")]


@pytest.mark.fault
def test_a_result_made_from_such_data_is_not_taken_for_them(tmp_path):
    path = burgers(tmp_path / "a.zarr")
    zarr.open_group(path, mode="r+").attrs["made_by"] = "surform rollout"
    with pytest.raises(FileExistsError, match="was not made by a solver"):
        burgers(path)


@pytest.mark.fault
def test_beginning_with_other_parameters_is_refused_with_both_values(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            burgers(tmp_path / "a.zarr")
    with pytest.raises(
        FileExistsError, match=r"was begun with viscosity 0\.02, but viscosity 0\.03"
    ):
        burgers(tmp_path / "a.zarr", viscosity=0.03)
    with pytest.raises(FileExistsError, match="batch 2, but batch 3"):
        burgers(tmp_path / "a.zarr", batch=3)
    burgers(tmp_path / "a.zarr", viscosity=0.03, overwrite=True)
    assert json.loads(load(tmp_path / "a.zarr").attrs["parameters"])["viscosity"] == 0.03


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_complete_file_is_kept_and_another_request_refused(tmp_path, suffix):
    path = burgers(tmp_path / f"a{suffix}")
    before = path.stat().st_mtime_ns
    assert burgers(path, batch=3) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(
        FileExistsError, match=r"seed 0, but seed 4 is asked for; .*\(--overwrite\)"
    ):
        burgers(path, seed=4)
    with pytest.raises(FileExistsError, match="exists with solver 'burgers', but solver 'darcy'"):
        generate("darcy", path, 7)
    burgers(path, seed=4, overwrite=True)
    assert load(path).attrs["seed"] == 4


@pytest.mark.fault
def test_foreign_file_is_never_replaced(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="was not made by a solver"):
        burgers(path)
    assert path.read_text() == "precious"


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.fault
def test_second_writer_is_refused(tmp_path):
    with writer_lock(tmp_path / "a.zarr"), pytest.raises(BlockingIOError, match="is being written"):
        burgers(tmp_path / "a.zarr")


@pytest.mark.fault
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_full_disk_leaves_nothing_under_the_name_and_is_recovered(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    with monkeypatch.context() as patch:
        stop_after(patch, 1, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(
            OSError, match=r"no space left to write .* run the same again to continue"
        ):
            burgers(path)
    assert not path.exists()
    burgers(path)
    xr.testing.assert_equal(load(path), load(burgers(tmp_path / f"whole{suffix}")))


@pytest.mark.fault
def test_file_size_limit_while_writing_hdf5_is_recovered(tmp_path):
    # Chunks stay below the limit, the final file does not.
    code = (
        "import resource, signal, sys\n"
        "from surform.data.solvers.generate import generate\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    generate('burgers', sys.argv[1], 30, batch=2, points=2048, modes=32, dt=0.1)\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "a.h5"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert f"no space left to write {path}; nothing was written under that name" in done.stdout
    assert names(tmp_path) == ["a.h5.partial"]
    calls: list[float] = []
    generate("burgers", path, 30, batch=2, points=2048, modes=32, dt=0.1, progress=calls.append)
    assert calls == [1.0]  # only the last step was repeated
    assert load(path).u.shape == (30, 2048)


@pytest.mark.fault
def test_blow_up_is_one_sentence_and_leaves_nothing_under_the_name(tmp_path):
    with pytest.raises(
        ValueError, match=r"kolmogorov: the solution blew up before time .* dt below"
    ):
        generate("kolmogorov", tmp_path / "a.zarr", 2, **{**FLOW, "dt": 5.0, "spin_up": 50.0})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"viscosty": 0.1}, "unknown option of burgers 'viscosty': did you mean viscosity"),
        ({"points": 33}, "points=33 and modes=32 must be even"),
        ({"points": 32.5}, "points is 32.5, but it must be a whole number"),
        ({"points": True}, "points is True, but it must be a whole number"),
        ({"dt": "fast"}, "dt is 'fast', but it must be a number"),
        ({"dt": None}, "dt is None, but it must be a number"),
        ({"viscosity": -1}, "viscosity is -1.0, but it must be a number above 0"),
        ({"viscosity": float("nan")}, "viscosity is nan, but it must be a number above 0"),
        ({"samples": 0}, "samples is 0, but it must be at least 1"),
        ({"seed": -1}, "seed is -1, but it must be at least 0"),
        ({"batch": 0}, "batch is 0, but it must be at least 1"),
        ({"shard": (2, 2)}, "shard 2/2 does not exist"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', but it must be 'float32' or 'float64'"),
        ({"device": "warp"}, "device 'warp' cannot be used"),
        ({"out": "s3://bucket/a.zarr"}, "is a URL"),
        ({"out": "a.csv"}, "a.csv must end in one of .zarr, .h5"),
    ],
)
def test_bad_requests_are_one_sentence(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    options = {"out": "a.zarr", "samples": 2, **SMALL, **options}
    with pytest.raises(ValueError) as raised:
        generate("burgers", **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert names(tmp_path) == []


def test_unknown_solver_names_the_closest(tmp_path):
    with pytest.raises(ValueError, match="unknown solver 'kolmogorow': did you mean kolmogorov"):
        generate("kolmogorow", tmp_path / "a.zarr", 1)


def test_numbers_may_come_as_text_from_yaml(tmp_path):
    # YAML reads 1e-2 as a string
    path = generate("burgers", tmp_path / "a.zarr", 2, points=32, modes=32, dt="2e-2")
    assert json.loads(load(path).attrs["parameters"])["dt"] == 0.02
