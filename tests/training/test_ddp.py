"""Two processes over gloo train as one process does on the joint batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.two_processes import require_same_weights

SCRIPT = """
import sys, torch
from tests.training.toy import Smooth, ToyData, trainer
from surform.operators.task import FieldTask
from surform.cli.fit_progress import quiet
quiet()
devices, folder = int(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
task = FieldTask(net=Smooth().double(), ema_decay=0.5)
data = ToyData(samples=24, batch_size=8 // devices, validation=7, dtype=torch.float64)
options = dict(devices=devices, strategy="ddp") if devices > 1 else {}
run = trainer(folder, max_epochs=2, precision="64-true", **options)
run.fit(task, data)
run.save_checkpoint(folder + "/end.ckpt", weights_only=False)
if run.is_global_zero:
    figures = {k: v.item() for k, v in run.callback_metrics.items() if k.startswith("validation")}
    torch.save(figures, folder + "/figures.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    require_same_weights(SCRIPT, tmp_path)
    figures = [torch.load(tmp_path / n / "figures.pt") for n in ("1", "2")]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)
