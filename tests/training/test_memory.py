"""What a run takes in memory is foretold within a factor, and the run is left as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import xarray as xr
from lightning.pytorch import Callback

from surform.data.fields_module import FieldsData
from surform.data.points_module import PointsData
from surform.data.series_module import SeriesData
from surform.operators.point_task import PointTask
from surform.operators.task import FieldTask
from surform.training.live_memory import LiveMemory
from surform.training.memory import MemoryEstimate, _left, measure_memory, spoken
from surform.training.memory_note import MemoryNote, OnlyCheckedError
from surform.training.sharpness import SharpnessAware
from tests.data.point_files import sample, store
from tests.operators.toy_points import PointToy
from tests.training.toy import Decay, Smooth, ToyData, trainer

FACTOR = 1.5

# Each case in a process of its own, which imports nothing again.
SCRIPT = """
import json, os, sys, threading
import numpy as np, torch, xarray as xr
from lightning.pytorch import Callback
from surform import create_model
from surform.cli.fit_progress import quiet
from surform.data.fields_module import FieldsData
from surform.data.series_module import SeriesData
from surform.forecasting.task import ForecastTask
from surform.operators.task import FieldTask
from surform.training.memory import measure_memory
from tests.training.toy import trainer
quiet()
torch.set_num_threads(1)

def field(net, steps):
    x = np.linspace(0, 1, 64)
    dims = ("sample", "time", "x", "y") if steps else ("sample", "x", "y")
    values = np.random.default_rng(0).random((3, 9, 64, 64) if steps else (27, 64, 64), "f4")
    flow = xr.Dataset({"u": (dims, values), "v": (dims, values)}, {"x": x, "y": x})
    flow.to_zarr("memory://u.zarr", consolidated=False, mode="w")
    window = {"input_steps": 2, "target_steps": 1} if steps else {}
    data = FieldsData("memory://u.zarr", ["u"], ["v"], batch_size=16, split={"train": 1.0},
                      cache="memory", **window)
    return FieldTask(net=net), data

def factformer():
    return field(create_model("factformer2d", input_steps=2, max_steps=1, dim=64, depth=2, heads=4,
                              head_dim=32), True)

def galerkin():
    net = create_model("galerkin2d", dim=64, depth=3, heads=4, coarse_size=32, modes=8)
    return field(net, False)

def itransformer():
    import pandas
    values = np.random.default_rng(0).random((1600, 200))
    table = pandas.DataFrame(values, columns=[f"v{i}" for i in range(200)])
    net = create_model("itransformer", lookback=48, horizon=48, dim=256, depth=2, heads=8)
    return ForecastTask(net=net), SeriesData(table, lookback=48, horizon=48, step="", batch_size=64)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

class Watch(Callback):
    def on_fit_start(self, run, task):
        self.base = self.peak = resident()
        self.estimate = measure_memory(run, task)
        threading.Thread(target=self.watch, daemon=True).start()
    def watch(self):
        while True:
            self.peak = max(self.peak, resident())
            threading.Event().wait(0.002)

def measured(make):
    task, data = make()
    watch = Watch()
    run = trainer("/tmp", max_steps=2, callbacks=[watch], num_sanity_val_steps=0,
                  limit_val_batches=0)
    run.fit(task, data)
    return watch.estimate.more, watch.peak - watch.base

for make in (factformer, galerkin, itransformer):
    if os.fork() == 0:
        print(json.dumps([make.__name__, *measured(make)]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_estimates_hold_within_a_factor(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=500,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == 3, done.stderr
    for name, foretold, taken in found:
        assert taken > 1e8, name
        assert 1 / FACTOR < foretold / taken < FACTOR, (name, foretold / 1e6, taken / 1e6)


class _Keep(Callback):
    estimate: MemoryEstimate | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.estimate = measure_memory(trainer, pl_module)


def estimated(tmp_path: Path, task: FieldTask, data: ToyData, **options: Any) -> MemoryEstimate:
    keep = _Keep()
    trainer(tmp_path, max_steps=1, callbacks=[keep], **options).fit(task, data)
    assert keep.estimate is not None
    return keep.estimate


def test_weights_gradients_and_optimizer_are_counted(tmp_path: Path) -> None:
    task = FieldTask(net=Smooth(dim=100), ema_decay=0.5)
    count = 4 * sum(p.numel() for p in task.parameters())
    found = estimated(tmp_path, task, ToyData())
    assert found.gradients == count
    assert found.optimizer == pytest.approx(3 * count, rel=0.01)  # Adam's two, and the average
    assert found.weights >= count
    assert found.batch_size == 4
    plain = FieldTask(net=Smooth(dim=100), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    assert estimated(tmp_path, plain, ToyData()).optimizer == 0
    sharp = FieldTask(net=Smooth(dim=100), optimizer=lambda p: SharpnessAware(p))
    assert estimated(tmp_path, sharp, ToyData()).optimizer == pytest.approx(3 * count, rel=0.01)


def test_a_batch_grows_with_its_size(tmp_path: Path) -> None:
    small, large = (
        estimated(tmp_path, FieldTask(net=Smooth(dim=64)), ToyData(40, batch_size=n))
        for n in (5, 20)
    )
    assert large.batch == pytest.approx(4 * small.batch, rel=0.2)
    assert small.batch > 5 * 12 * 64 * 4  # one hidden layer


def test_the_last_steps_of_a_curriculum_are_foretold(tmp_path: Path) -> None:
    seen: list[int] = []

    class Seen(Decay):
        def forward(self, u: Any, coordinates: Any, steps: int | None = None) -> Any:
            seen.append(steps or 0)
            return super().forward(u, coordinates, steps)

    task = FieldTask(net=Seen(), steps=4, curriculum_length=100)
    estimated(tmp_path, task, ToyData(frames=8), limit_val_batches=0)
    assert seen == [4, 4, 4, 1]  # three rehearsals, then the first step


def test_a_run_is_the_same_with_and_without_the_note(tmp_path: Path, capsys: Any) -> None:
    ends = []
    for callbacks in ([], [MemoryNote()]):
        torch.manual_seed(0)
        task = _noisy()
        run = trainer(tmp_path, max_epochs=1, callbacks=callbacks, num_sanity_val_steps=0)
        run.fit(task, ToyData())
        ends.append({n: v.clone() for n, v in task.state_dict().items()})
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    assert capsys.readouterr().err.startswith("memory: about ")


def _noisy() -> FieldTask:
    net = Smooth(dim=8, dropout=0.3)
    net.body.append(torch.nn.BatchNorm1d(12))
    return FieldTask(net=net)


def test_only_checking_trains_nothing(tmp_path: Path) -> None:
    task = FieldTask(net=Smooth())
    weights = [p.clone() for p in task.parameters()]
    with pytest.raises(OnlyCheckedError):
        trainer(tmp_path, max_steps=1, callbacks=[MemoryNote(only=True)]).fit(task, ToyData())
    for weight, old in zip(task.parameters(), weights, strict=True):
        assert torch.equal(weight, old)
        assert weight.grad is None


def estimate(**options: Any) -> MemoryEstimate:
    numbers: dict[str, Any] = {
        "weights": 10**8, "gradients": 10**8, "optimizer": 2 * 10**8, "batch": 8 * 10**8,
        "per_sample": 1e8, "batch_size": 8, "loader": 0, "data": 0, "free": 10**9,
        "processes": 1, "device": "cpu",
    }  # fmt: skip
    return MemoryEstimate(**(numbers | options))


@pytest.mark.fault
def test_too_little_memory_is_said_with_what_fits() -> None:
    assert estimate(free=2 * 10**9).warning() == estimate(free=None).warning() == ""
    assert estimate().warning() == (
        "training needs about 1.1 GB more, but 1 GB are free: data.batch_size 7 fits, with "
        "trainer.accumulate_grad_batches 2"
    )
    assert "2 processes need about 2.2 GB more" in estimate(processes=2).warning()
    assert "data.batch_size 2 fits" in estimate(processes=2).warning()
    assert "take a smaller network or grid" in estimate(free=10**8).warning()
    text = estimate(data=3 * 10**9).text()
    assert text.startswith("memory: about 4.2 GB (weights 100 MB, gradients 100 MB, optimizer 200")
    assert text.endswith("a batch of 8 800 MB, data 3 GB); 1 GB free")


def test_data_in_memory_are_counted(tmp_path: Path) -> None:
    values = np.zeros((10, 6, 8), np.float64)  # float32 in memory
    flow = xr.Dataset({"u": (("sample", "time", "x"), values)}, {"x": np.arange(8) / 8})
    flow.to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    window: dict[str, Any] = {"input_steps": 2, "target_steps": 1}
    for cache, held in (("memory", 4 * 9 * 6 * 8), ("files", 0)):
        data = FieldsData(str(tmp_path / "flow.nc"), ["u"], ["u"], cache=cache, **window)
        data.setup("fit")  # 8 samples for training, 1 for validation
        assert data.held_bytes() == held
    points = PointsData(store(tmp_path / "p.zarr"), cache="memory")
    points.setup("fit")
    train = points.samples("train")
    assert points.held_bytes() == train.held + points.samples("validation").held > 0
    table = pandas.DataFrame({"a": np.zeros(100), "b": np.zeros(100)})
    series = SeriesData(table, lookback=8, horizon=4, step="")
    assert series.held_bytes() == 4 * 100 * 2


def test_the_largest_meshes_are_measured(tmp_path: Path) -> None:
    found = []
    for longest in (10, 1000):
        meshes = [sample(n, 10) for n in range(7)] + [sample(7, longest)]
        path = store(tmp_path / f"{longest}.zarr", meshes)
        data: Any = PointsData(path, split={"train": 8}, batch_size=4)
        net = PointToy(2, 2, parameters=1, input_channels=(3, 2), dim=64)
        found.append(estimated(tmp_path, PointTask(net=net), data))
    assert found[1].batch == pytest.approx(100 * found[0].batch, rel=0.3)


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_leaves_what_its_limit_and_its_files_do(version: int, tmp_path: Path) -> None:
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    group = (str(tmp_path), *names)
    assert _left(group) is None
    for name, text in zip(names, ("1000\n", "900\n"), strict=False):
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.stat").write_text("inactive_file 300\ntotal_inactive_file 300\n")
    assert _left(group) == 400  # the files that were read may go
    (tmp_path / names[0]).write_text("max\n")
    assert _left(group) is None


def test_bytes_are_spoken() -> None:
    numbers = (0, 999, 1000, 12345, 99700, 123456, 1e6, 1.25e9, 3e12, 2e15)
    assert [spoken(n) for n in numbers] == [
        "0 bytes", "999 bytes", "1 kB", "12 kB", "100 kB", "123 kB", "1 MB", "1.2 GB",
        "3 TB", "2000 TB",
    ]  # fmt: skip


def test_storages_are_counted_while_they_live() -> None:
    with LiveMemory() as memory:
        a = torch.zeros(1000)
        view = a[10:]
        assert memory.now == 4000
        b = view + 1
        assert memory.now == 4000 + 3960
        del a, view
        assert memory.now == 3960
        b.add_(1)
    with LiveMemory([b]) as later:
        b.add_(1)
        assert later.most == 0
    assert (memory.now, memory.most) == (3960, 7960)
    del b, later
    assert memory.now == 0
