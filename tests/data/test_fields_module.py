from __future__ import annotations

import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from surform.data.batches import FieldBatch
from surform.data.fields_module import FieldsData

WINDOWS: dict[str, Any] = {
    "inputs": ["w"], "targets": ["w"], "input_steps": 4, "target_steps": 2, "batch_size": 4,
    "split": {"train": 3, "validation": 1, "test": 2},
}  # fmt: skip


class Seen(L.LightningModule):
    """Notes the windows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[list[int]]] = {"train": [], "validation": [], "test": []}

    def _note(self, stage: str, batch: FieldBatch) -> Tensor:
        self.seen[stage].append(batch.index.tolist())
        assert batch.inputs.dtype == self.weight.dtype
        return self.weight * batch.inputs.mean()

    def training_step(self, batch: FieldBatch, number: int) -> Tensor:
        return self._note("train", batch)

    def validation_step(self, batch: FieldBatch, number: int) -> None:
        self._note("validation", batch)

    def test_step(self, batch: FieldBatch, number: int) -> None:
        self._note("test", batch)

    def predict_step(self, batch: FieldBatch, number: int) -> Tensor:
        return batch.index

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's remarks about workers and loggers
        yield


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_lightning_trains_evaluates_and_predicts(flow_path: str, precision: Any) -> None:
    data, model = FieldsData(flow_path, **WINDOWS), Seen()
    run = trainer(max_epochs=2, precision=precision)
    run.fit(model, data)
    run.test(model, data, verbose=False)
    predicted = run.predict(model, data)
    batches = len(model.seen["train"]) // 2
    assert batches == 3 * 7 // 4
    assert model.seen["train"][:batches] != model.seen["train"][batches:]
    assert sorted(chain(*model.seen["test"])) == list(range(14))
    assert list(chain(*model.seen["validation"])) == [*range(7), *range(7)]
    assert predicted is not None
    assert torch.cat(predicted).tolist() == list(range(14))  # type: ignore[arg-type]


def test_training_resumes_in_the_middle_of_an_epoch(flow_path: str) -> None:
    whole, resumed = FieldsData(flow_path, **WINDOWS), FieldsData(flow_path, **WINDOWS)
    loader = whole.train_dataloader()
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    expected = [batch.index.tolist() for batch in loader]
    resumed.resume_at(3, 2)
    loader = resumed.train_dataloader()
    assert [batch.index.tolist() for batch in loader] == expected[2:]
    resumed.resume_at(3, 4)
    assert [batch.index.tolist() for batch in loader] == expected[4:]


def test_making_batches_leaves_the_global_random_numbers_alone(flow_path: str) -> None:
    data = FieldsData(flow_path, input_noise=0.1, **WINDOWS)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    list(data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numpy_state  # noqa: NPY002


def test_memory_and_files_give_the_same_batches(flow_path: str) -> None:
    options = WINDOWS | {"inputs": ["p", "mask", "w"], "parameters": ["re"], "input_noise": 0.1}
    memory, files = (FieldsData(flow_path, cache=c, **options) for c in ("memory", "files"))
    for one, other in zip(memory.train_dataloader(), files.train_dataloader(), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
    for one, other in zip(memory.normalizers(), files.normalizers(), strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_workers_give_the_same_batches_in_order(
    flow_path: str, flow: xr.Dataset, tmp_path: Path, suffix: str
) -> None:
    path = flow_path
    if suffix == "nc":
        path = str(tmp_path / "flow.nc")
        flow.to_netcdf(path, engine="h5netcdf")
    alone, helped = (FieldsData(path, cache="files", workers=n, **WINDOWS) for n in (0, 2))
    helped.description()  # the parent has the file open when the workers start
    loader = helped.train_dataloader()
    assert loader.multiprocessing_context is None or suffix == "zarr"
    for epoch in range(2):
        pairs = zip(alone.train_dataloader(), loader, strict=True)
        for one, other in pairs:
            assert torch.equal(one.index, other.index)
            assert torch.equal(one.inputs, other.inputs)
        assert epoch < 2
    assert sorted(chain(*(b.index.tolist() for b in helped.test_dataloader()))) == list(range(14))


def test_two_ranks_share_the_joint_batch(flow_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "surform.data.fields_module.joint_processes"
    one = FieldsData(flow_path, **WINDOWS)
    joint = [batch.index.tolist() for batch in one.train_dataloader()]
    parts, tested = [], []
    for rank in range(2):
        monkeypatch.setattr(place, lambda trainer, rank=rank: (rank, 2))
        data = FieldsData(flow_path, **(WINDOWS | {"batch_size": 2, "eval_batch_size": 3}))
        parts.append([batch.index.tolist() for batch in data.train_dataloader()])
        tested.append([batch.index.tolist() for batch in data.test_dataloader()])
    assert [a + b for a, b in zip(*parts, strict=True)] == joint
    assert sorted(chain(*chain(*tested))) == list(range(14))
    assert len(tested[0]) == len(tested[1])


def test_separate_files_and_longer_targets_in_evaluation(
    flow_path: str, flow: xr.Dataset, tmp_path: Path
) -> None:
    flow.isel(sample=[4, 1]).to_zarr(tmp_path / "test.zarr", consolidated=False)
    data = FieldsData(
        flow_path, **(WINDOWS | {"split": None}), validation_target_steps=6,
        test_path=str(tmp_path / "test.zarr"),
    )  # fmt: skip
    assert len(data.windows("train")) == 5 * 7
    assert data.windows("validation")[[0]].targets.shape == (1, 6, 8, 4, 1)
    batch = data.windows("test")[[0]]
    np.testing.assert_array_equal(batch.targets[0, ..., 0], flow["w"].values[4, 4:10])
    assert data.description().target_steps == 2


def test_the_description_tells_what_a_model_must_know(flow_path: str) -> None:
    data = FieldsData(flow_path, parameters=["re"], time_stride=2, space_stride=[4, 1],
                      **(WINDOWS | {"input_steps": 2}))  # fmt: skip
    found = data.description()
    assert (found.shape, found.axes, found.in_channels) == ((2, 4), ("x", "y"), 2)
    assert found.coordinates["x"] == pytest.approx([0, 4 / 7])
    assert found.periodic == {"x": True, "y": False}
    assert found.units == {"w": "s-1", "re": "1", "x": "m", "y": "m", "time": "s"}
    assert found.time_step == 1.0
    assert found.source["solver"] == "none"
    assert found.source["seed"] == "3"
    data.check(found)


def test_the_fingerprint_follows_content_and_not_place(flow: xr.Dataset, tmp_path: Path) -> None:
    def fingerprint(name: str, flow: xr.Dataset, **options: Any) -> str:
        path = str(tmp_path / name)
        if name.endswith("zarr"):
            flow.to_zarr(path, consolidated=False)
        else:
            flow.to_netcdf(path, engine="h5netcdf")
        return FieldsData(path, **(WINDOWS | options)).description().source["fingerprint"]

    changed = flow.copy(deep=True)
    changed["w"][5, 11, 7, 3] += 1
    first = fingerprint("a.zarr", flow)
    assert len(first) == 64
    assert first == fingerprint("b.zarr", flow) == fingerprint("c.nc", flow)
    assert first != fingerprint("d.zarr", changed)
    assert first != fingerprint("e.zarr", flow, space_stride=2)


def test_fields_in_this_process_only_refuse_workers(flow: xr.Dataset) -> None:
    flow.to_zarr("memory://here.zarr", consolidated=False, mode="w")
    data = FieldsData("memory://here.zarr", cache="files", workers=2, **WINDOWS)
    with pytest.raises(ValueError, match="lives in this process: set workers to 0"):
        data.train_dataloader()
    data = FieldsData("memory://here.zarr", workers=2, **WINDOWS)
    assert len(list(data.train_dataloader())) == 5


def test_missing_data_are_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"solver": "burgers", "samples": 4, "seed": 1}
    path = str(tmp_path / "burgers.zarr")
    calls = []

    def fake(name: str, out: str, samples: int, **rest: Any) -> None:
        calls.append((name, rest))
        flow = xr.Dataset({"u": (("sample", "x"), np.random.default_rng(0).random((samples, 8)))})
        flow.to_zarr(out, consolidated=False)

    monkeypatch.setattr("surform.data.solvers.generate.generate", fake)
    for _ in range(2):
        data = FieldsData(path, ["u"], ["u"], generate=options)
        assert len(data.windows("train")) == 2
    assert calls == [("burgers", {"progress": True, "seed": 1})]
    for wrong, message in (({"samples": 3}, "needs a solver"), ({}, "needs a solver")):
        with pytest.raises(ValueError, match=message):
            FieldsData(path, ["u"], ["u"], generate=wrong).description()
    with pytest.raises(ValueError, match="one local file"):
        FieldsData("s3://bucket/f.zarr", ["u"], ["u"], generate=options).description()
