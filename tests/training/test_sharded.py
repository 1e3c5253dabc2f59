"""The strategy fsdp: weights in parts over two processes train as whole ones do in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import surform
from surform.training.checkpoint import load_surrogate, read_checkpoint
from tests.training.two_processes import run_by_one_and_two

SCRIPT = """
import sys, numpy as np, torch, warnings
from pathlib import Path
from lightning.pytorch.callbacks import Checkpoint
from surform import create_model
from surform.cli.fit_progress import quiet
from surform.data.fields_module import FieldsData
from surform.data.series_module import SeriesData
from surform.forecasting.task import ForecastTask
from surform.operators.task import FieldTask
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from surform.training.schedules import Constant
from surform.training.sharded import Sharded
from tests.data.conftest import make_flow
from tests.training.toy import trainer
quiet()
devices, folder = int(sys.argv[1]), Path(sys.argv[2])

def field():
    torch.manual_seed(0)
    net = create_model("factformer2d", input_steps=2, max_steps=1, dim=16, depth=2, heads=2,
                       dim_head=8)
    data = FieldsData(str(folder / "flow.zarr"), ["w"], ["w"], input_steps=2, target_steps=1,
                      split={"train": 4, "validation": 1}, batch_size=8 // devices, dtype="float64")
    return FieldTask(net=net.double(), ema_decay=0.5, optimizer=adam, schedule=Constant()), data

def series():
    torch.manual_seed(0)
    net = create_model("itransformer", lookback=8, horizon=4, dim=9, depth=2, heads=3, dropout=0.0)
    data = SeriesData(str(folder / "loads.csv"), lookback=8, horizon=4, step="",
                      batch_size=16 // devices, dtype="float64")
    return ForecastTask(net=net.double(), optimizer=adam, schedule=Constant()), data

def adam(params):
    return torch.optim.AdamW(params, lr=1e-2)

class Seventh(Checkpoint):
    def on_train_batch_end(self, trainer, *rest):
        if trainer.global_step == 7:  # in the middle of an epoch
            trainer.save_checkpoint(folder / "seventh.ckpt", weights_only=False)

def fit(make, name, steps, resume=None, **options):
    task, data = make()
    callbacks = [Seventh(), RunFolder(folder / name, report=False), Checkpoints(), ExactResume()]
    options = {"precision": "64-true", "gradient_clip_val": 0.1} | options
    if devices > 1:
        options |= {"devices": devices, "strategy": Sharded()}
    run = trainer(folder, max_epochs=-1, max_steps=steps, callbacks=callbacks,
                  enable_checkpointing=True, **options)
    run.fit(task, data, ckpt_path=resume, weights_only=True)
    assert not any("FSDP" in type(m).__name__ for m in task.modules())

if not (folder / "flow.zarr").exists():
    make_flow(5, 12, (8, 6)).to_zarr(folder / "flow.zarr", zarr_format=3, consolidated=False)
    rows = np.random.default_rng(0).normal(size=(200, 3)).cumsum(0)
    lines = "\\n".join(",".join(map(str, row)) for row in rows)
    (folder / "loads.csv").write_text("a,b,c\\n" + lines)
for name, make in (("field", field), ("series", series)):
    fit(make, name, 12)
    fit(make, name + "-resumed", 12, resume=str(folder / "seventh.ckpt"))
fit(field, "halved", 4, accumulate_grad_batches=2, precision="bf16-mixed",
    gradient_clip_algorithm="value")
"""


def _last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_two_processes_with_sharded_weights_equal_one(tmp_path: Path) -> None:
    run_by_one_and_two(SCRIPT, tmp_path)
    for name in ("field", "series"):
        one, two, resumed = (
            _last(tmp_path / run) for run in (f"1/{name}", f"2/{name}", f"2/{name}-resumed")
        )
        assert one["global_step"] == two["global_step"] == resumed["global_step"] == 12
        for key, value in one["state_dict"].items():
            torch.testing.assert_close(two["state_dict"][key], value, rtol=1e-6, atol=1e-9)
            assert torch.equal(resumed["state_dict"][key], two["state_dict"][key]), key
        moments = [run["optimizer_states"][0]["state"] for run in (one, two)]
        for number, state in moments[0].items():
            torch.testing.assert_close(moments[1][number]["exp_avg"], state["exp_avg"])
        best = load_surrogate(tmp_path / f"2/{name}/checkpoints/best.ckpt")
        saved = surform.load_model(tmp_path / f"2/{name}/model")
        for key, value in best.state_dict().items():
            assert torch.equal(saved.state_dict()[key].to(value), value), key
    assert _last(tmp_path / "2/halved")["global_step"] == 4
