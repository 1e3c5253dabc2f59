"""The strategy fsdp: weights in parts over two processes train as whole ones do in one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh

import surform
from surform import create_model
from surform.operators.task import FieldTask
from surform.training.checkpoint import load_surrogate, read_checkpoint
from surform.training.losses import RelativeL2
from surform.training.sharded import Sharded, shard
from surform.training.shards import gathered, is_sharded, like, part_bytes, whole
from tests.training.toy import Smooth, ToyData, trainer
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
from surform.training.memory_note import MemoryNote
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
                       head_dim=8)
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
    callbacks = [MemoryNote(), Seventh(), RunFolder(folder / name, report=False), Checkpoints(),
                 ExactResume()]
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
    if devices > 1:
        fit(make, name + "-resumed", 12, resume=str(folder / "seventh.ckpt"))
if devices > 1:
    fit(field, "halved", 4, accumulate_grad_batches=2, precision="bf16-mixed",
        gradient_clip_algorithm="value")
"""


x = torch.linspace(0, 1, 40)
SMALL = {"dim": 16, "depth": 2, "heads": 2}
FACT = SMALL | {"head_dim": 8}
SERIES = {"lookback": 24, "horizon": 12}
POSE = {"image_size": (32, 32), "deconv_channels": (8, 8), "drop_path": 0.2}
MODELS: dict[str, tuple[dict[str, Any], Any]] = {
    "galerkin1d": (SMALL, lambda: (torch.randn(2, 40, 1), (x,))),
    "galerkin2d": (
        SMALL | {"coarse_size": 8, "modes": 3},
        lambda: (torch.randn(2, 12, 12, 1), (x[:12], x[:12])),
    ),
    "factformer2d": (
        FACT | {"input_steps": 2, "max_steps": 2},
        lambda: (torch.randn(2, 2, 12, 10, 1), (x[:12], x[:10])),
    ),
    "factformer2d_steady": (FACT, lambda: (torch.randn(2, 12, 10, 1), (x[:12], x[:10]))),
    "factformer3d": (
        FACT | {"input_steps": 2, "max_steps": 1},
        lambda: (torch.randn(1, 2, 6, 6, 6, 4), (x[:6],) * 3),
    ),
    "itransformer": (
        SERIES | SMALL | {"dim": 64},  # wider than the look-back: it merges the first two maps
        lambda: (torch.randn(8, 24, 5),),
    ),
    "informer_stack": (
        SERIES | {"variates": 5, "marks": 0, "label_length": 12, "dim": 16, "heads": 2},
        lambda: (torch.randn(2, 24, 5),),
    ),
    "card": (SERIES | {"variates": 5, "lookback": 96}, lambda: (torch.randn(2, 96, 5),)),
    "samformer": (SERIES | {"variates": 5}, lambda: (torch.randn(2, 24, 5),)),
    "pathformer": (SERIES | {"variates": 5, "lookback": 96}, lambda: (torch.randn(2, 96, 5),)),
    "dlinear": (SERIES, lambda: (torch.randn(2, 24, 5),)),
    "vitpose": (SMALL | POSE, lambda: (torch.randn(2, 3, 32, 32),)),
    "vitpose_plus": (
        SMALL | POSE | {"experts": 2, "part_features": 4, "joints": (3, 2)},
        lambda: (torch.randn(3, 3, 32, 32), torch.tensor([1, 0, 1])),
    ),
}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process only."""
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # Lightning sets them, and they must not outlive the test
        monkeypatch.delenv(name)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_blocks_may_be_sharded(alone: None, name: str, training: bool) -> None:
    """No network reads the weights of a block outside of its forward pass."""
    arguments, inputs = MODELS[name]
    torch.manual_seed(0)
    net = create_model(name, **arguments)
    plain, given = copy.deepcopy(net).train(training), inputs()
    mesh = init_device_mesh("cpu", (1,))
    shard(net.train(training), mesh)
    outputs = []
    for each in (plain, net):
        torch.manual_seed(1)
        outputs.append(each(*given))
        outputs[-1].square().mean().backward()
    torch.testing.assert_close(outputs[1], outputs[0])
    for weight, expected in zip(net.parameters(), plain.parameters(), strict=True):
        assert is_sharded(weight)
        if expected.grad is not None:
            torch.testing.assert_close(whole(weight.grad), expected.grad)


def test_states_are_gathered_and_cut(alone: None) -> None:
    net = torch.nn.Linear(3, 5)
    value = net.weight.detach().clone()
    shard(net, init_device_mesh("cpu", (1,)))
    state = {"a": [net.weight, 3], "b": torch.ones(2)}
    kept, shapes = gathered(state, keep=True), gathered(state, keep=False)
    assert torch.equal(kept["a"][0], value)
    assert kept["a"][1] == 3
    assert shapes["a"][0].device.type == "meta"
    cut = like(value + 1, net.weight)
    assert is_sharded(cut)
    assert torch.equal(whole(cut), value + 1)
    step = torch.tensor(3.0)
    assert like(step, net.weight) is not None
    assert not is_sharded(like(step, net.weight))
    assert part_bytes(net.weight) == 60


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["scaler", "loss"])
def test_what_cannot_be_sharded_is_refused(alone: None, tmp_path: Path, kind: str) -> None:
    task = FieldTask(net=Smooth(), loss=RelativeL2())
    options: dict[str, Any] = {}
    if kind == "loss":
        task.loss.register_parameter("scale", torch.nn.Parameter(torch.ones(())))
        message = "shards the network, but loss.scale is trained beside it: use ddp"
    else:
        scaler = torch.amp.GradScaler("cpu")
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
        message = "precision 16-mixed needs it: use bf16-mixed or 32-true"
    run = trainer(tmp_path, max_steps=1, devices=1, strategy=Sharded(), **options)
    with pytest.raises(ValueError, match=message) as error:
        run.fit(task, ToyData())
    assert "\n" not in str(error.value)


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
