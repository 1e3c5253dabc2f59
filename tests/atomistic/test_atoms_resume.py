"""Training of potentials that is cut off, in mixed precision, and in two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from surform.atomistic.atoms_task import AtomsTask
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from tests.atomistic.atoms_toy import ToyAtoms, small_net
from tests.atomistic.atoms_training import fit, task
from tests.training.toy import trainer


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


class Killed(BaseException):
    pass


class Kill(Callback):
    """Before this optimizer step."""

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 4:
            raise Killed


def test_a_run_resumes_to_the_same_bits_with_averages_and_accumulated_gradients(tmp_path: Path):
    def run(module: AtomsTask, *more: Callback, **options: Any) -> AtomsTask:
        callbacks = [Checkpoints(tmp_path, every_n_steps=2), ExactResume(), *more]
        made = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2, callbacks=callbacks,
                       enable_checkpointing=True)  # fmt: skip
        made.fit(module, ToyAtoms(validation=3), **options)
        return module

    def made() -> AtomsTask:
        return task(small_net(depth=1, attention_dropout=0.1, drop_path=0.1), ema_decay=0.9)

    whole = run(made())
    with pytest.raises(Killed):
        run(made(), Kill())
    again = run(made(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_mixed_precision_keeps_sums_and_norms_wide(tmp_path: Path):
    module = task(small_net())
    run = fit(tmp_path, module, precision="bf16-mixed", max_epochs=3)
    assert float(run.callback_metrics["validation/loss/clean"]) < 30
    seen = []
    for norm in (module.surrogate.net.norm, module.surrogate.net.blocks[0].attention.scores):
        norm.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = module.predict_batch(ToyAtoms().batch([0, 1]))
    assert {*seen, prediction.output.dtype, prediction.forces.dtype} == {torch.float32}


SCRIPT = """
import sys, torch
from tests.atomistic.atoms_toy import ToyAtoms, small_net
from tests.training.toy import trainer
from surform.atomistic.atoms_task import AtomsTask
from surform.cli.fit_progress import quiet
quiet()
devices, folder = int(sys.argv[1]), sys.argv[2]
task = AtomsTask(small_net(depth=1), ema_decay=0.5)
task.double()
data = ToyAtoms(24, 10, batch_size=8 // devices)
options = dict(devices=devices, strategy="ddp") if devices > 1 else {}
run = trainer(folder, max_epochs=2, precision="64-true", **options)
run.fit(task, data)
run.save_checkpoint(folder + "/end.ckpt", weights_only=False)
if run.is_global_zero:
    figures = {k: v.item() for k, v in run.callback_metrics.items() if k.startswith("validation")}
    torch.save(figures, folder + "/figures.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path):
    """With structures of unequal size, and no search for parameters without gradients."""
    from tests.training.two_processes import require_same_weights

    require_same_weights(SCRIPT, tmp_path)
    figures = [torch.load(tmp_path / n / "figures.pt") for n in ("1", "2")]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)
