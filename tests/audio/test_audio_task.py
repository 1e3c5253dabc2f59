"""Training of networks of sounds: figures, several classes, mixing, adapters, tables, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import Adam

import surform
from surform.audio.ast import AST
from surform.audio.average_precision import area_under_roc, average_precision
from surform.audio.mixup import mix
from surform.audio.starting import begin_with
from surform.audio.task import AudioTask
from surform.data.clips_files import Reading
from surform.data.clips_module import ClipsData
from surform.data.clips_open import open_clips
from surform.data.solvers.generate import generate
from surform.hub.adapters import load_adapters, save_adapters
from surform.layers.adapted import Adapted
from surform.training.binary_cross_entropy import BinaryCrossEntropy
from surform.training.schedules import Constant
from tests.data.sound_files import CLASSES, RATE, dataset, folder, sound, write
from tests.training.toy import trainer

OPTIONS: dict[str, Any] = {"patch_size": 8, "stride": 8, "dim": 16, "depth": 1, "heads": 2}
SIZES: dict[str, Any] = {"frames": 23, "mel_bins": 16, "num_classes": 3}
SPLIT = {"train": 40, "validation": 10, "test": 10}


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def data(several: bool = False, **options: Any) -> ClipsData:
    given = {"rate": RATE, "mel_bins": 16, "split": SPLIT, "batch_size": 10} | options
    return ClipsData(dataset(60, several), **given)


def task(net: Any = None, **options: Any) -> AudioTask:
    torch.manual_seed(0)
    options = {"optimizer": lambda params: Adam(params, lr=5e-3), "schedule": Constant()} | options
    return AudioTask(net or AST(**SIZES, **OPTIONS), **options)


def fit(place: Path, module: AudioTask, source: ClipsData, epochs: int = 1) -> Any:
    run = trainer(place, max_epochs=epochs)
    run.fit(module, source)
    return run


def test_training_learns_saves_and_predicts(tmp_path: Path) -> None:
    module, source = task(mixup=0.2), data(frequency_mask=2, time_mask=3)
    run = fit(tmp_path, module, source, epochs=20)
    figures = run.test(module, source, verbose=False)[0]
    samples = source.samples("test")
    batch = samples[list(range(len(samples)))]
    with torch.no_grad():
        right = (module.eval().surrogate(batch.spectrograms).argmax(1) == batch.targets).float()
    assert figures["test/top1/clean"] == pytest.approx(right.mean().item())
    assert right.mean() > 0.8
    confusion = torch.tensor(module.profiles["test"]["confusion"])
    assert confusion.diagonal().sum().item() == pytest.approx(right.mean().item())
    prediction = module.evaluate_batch(batch)
    sections = module.report_sections(batch, prediction, samples.labels(batch.index))
    assert [section.title for section in sections] == ["Predictions", "Confusion", "Classes"]

    model: Any = surform.load_model(module.surrogate.save_pretrained(tmp_path / "saved"))
    root = folder(tmp_path / "new", 2)
    long = np.concatenate([sound(n, 2) for n in range(3)])
    write(root / "low" / "long.wav", long)
    out = model.predict_file(str(root), tmp_path / "found.csv")
    table = pd.read_csv(out)
    assert list(table.columns[-3:]) == [f"p_{name}" for name in CLASSES]
    truth = [name.split("/")[0] for name in table["clip"]]
    assert (table["prediction"] == truth).mean() > 0.8
    row = table[table["clip"] == "low/long.wav"].iloc[0]
    assert row["seconds"] == 0.75
    window = source.front.samples(23)
    parts = [long[k : k + window] for k in range(0, len(long) - window // 2, window)]
    alone = model.predict(np.stack([np.pad(p, (0, window - len(p))) for p in parts]))
    assert row["p_low"] == pytest.approx(alone["p_low"].mean(), abs=0.05)
    whole = model.predict(long)
    assert whole["p_low"][0] == pytest.approx(row["p_low"], abs=1e-3)


def test_the_shipped_model_tells_made_sounds_apart(tmp_path: Path) -> None:
    made = generate("sounds", tmp_path / "made.zarr", 32, seed=9)
    clips = open_clips(str(made), Reading(16000))
    model: Any = surform.load_model("ast-sounds")
    assert model.description.classes == clips.classes
    truth = [clips.classes[number] for number in clips.labels]
    assert (model.predict(str(made))["prediction"] == truth).mean() > 0.9


def test_clips_with_several_classes(tmp_path: Path) -> None:
    options = {"loss": BinaryCrossEntropy(), "metrics": ("map", "auc"), "monitor": "map"}
    module, source = task(**options), data(several=True)
    run = fit(tmp_path, module, source, epochs=14)
    figures = run.test(module, source, verbose=False)[0]
    samples = source.samples("test")
    batch = samples[list(range(len(samples)))]
    with torch.no_grad():
        chances = module.eval().surrogate.outputs(batch)
    assert not torch.allclose(chances.sum(1), torch.ones(10))
    expected = average_precision(chances, batch.targets).nanmean().item()
    assert figures["test/map/clean"] == pytest.approx(expected)
    assert expected > 0.8
    sections = module.report_sections(batch, module.evaluate_batch(batch), {})
    assert "Predictions" in [section.title for section in sections]
    table = module.surrogate.predict(source.source.waveforms[:2])
    assert set(";".join(table["prediction"]).split(";")) <= {*CLASSES, ""}


def test_figures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    scores, truth = torch.randint(6, (50, 4)).double(), (torch.rand(50, 4) < 0.3).double()
    for ours, name in ((average_precision, "average_precision"), (area_under_roc, "roc_auc")):
        theirs = getattr(metrics, f"{name}_score")(truth, scores, average=None)
        np.testing.assert_allclose(ours(scores, truth), theirs)
    truth[:, 0] = 0
    assert average_precision(scores, truth)[0].isnan()


def test_mixing_mixes_targets_alike() -> None:
    torch.manual_seed(0)
    targets = torch.eye(6)
    mixed, both = mix(targets[:, :, None], targets, 0.5)
    torch.testing.assert_close(mixed[..., 0], both)
    assert both.sum(1).allclose(torch.ones(6))
    assert (both.diagonal() >= 0.5).all()
    same, kept = mix(targets[:, :, None], targets, 0.5, share=0.0)
    assert torch.equal(kept, targets)
    assert torch.equal(same[..., 0], targets)


def test_adapters_alone_are_trained_saved_and_loaded(tmp_path: Path) -> None:
    base = task()
    base.surrogate.fit_to(data().description(), *data().normalizers())
    saved = base.surrogate.save_pretrained(tmp_path / "base")
    net = Adapted("ast", OPTIONS, reduction=4, count=2, **SIZES)
    module, source = task(net, weights=str(saved)), data()
    fit(tmp_path, module, source, epochs=2)
    assert any("Trained are" in remark for remark in module.remarks)
    frozen = base.surrogate.net.state_dict()
    inside = module.surrogate.net.net.state_dict()
    same = {name for name in frozen if torch.equal(frozen[name], inside[name])}
    assert {"positions", "patch.weight", "blocks.0.attention.qkv.weight"} <= same
    assert "blocks.0.norm1.weight" not in same

    file = save_adapters(module.surrogate, tmp_path / "adapters.safetensors")
    assert file.stat().st_size < (saved / "model.safetensors").stat().st_size
    again = load_adapters(surform.load_model(saved), file)
    batch = source.samples("test")[[0, 1, 2]]
    with torch.no_grad():
        torch.testing.assert_close(again.outputs(batch), module.eval().surrogate.outputs(batch))
    assert again.description == module.surrogate.description
    whole: Any = surform.load_model(module.surrogate.save_pretrained(tmp_path / "whole"))
    with torch.no_grad():
        torch.testing.assert_close(whole.outputs(batch), again.outputs(batch))

    other = task(AST(**SIZES, **OPTIONS | {"dim": 8})).surrogate
    with pytest.raises(ValueError, match="belongs to another network: this one lacks"):
        load_adapters(other, file)
    with torch.no_grad():
        base.surrogate.net.positions.add_(1)
    with pytest.raises(ValueError, match="belongs to a network with other weights"):
        load_adapters(base.surrogate, file)
    with pytest.raises(ValueError, match="AST has no adapters: save it whole"):
        save_adapters(base.surrogate, tmp_path / "x.safetensors")


def test_a_network_begins_with_another_ones_weights_and_says_what_it_changed() -> None:
    source = AST(**SIZES, **OPTIONS)
    report = str(begin_with(AST(**SIZES | {"frames": 40, "num_classes": 5}, **OPTIONS), source))
    assert "changed positions: (1, 6, 16) fitted to (1, 12, 16)" in report
    assert not begin_with(AST(**SIZES, **OPTIONS), source).changed
    assert "fresh head.weight: (3, 16) in the source, (5, 16) here" in report


def test_the_head_of_other_classes_is_not_taken(tmp_path: Path) -> None:
    base = task().surrogate
    base.fit_to(data().description(), *data().normalizers())
    saved = base.save_pretrained(tmp_path / "base")
    for classes, same in ((CLASSES, True), (CLASSES[::-1], False), (None, True)):
        torch.manual_seed(1)
        for net in (AST(**SIZES, **OPTIONS), Adapted("ast", OPTIONS, reduction=4, **SIZES)):
            report = begin_with(net, saved, classes)
            inside = getattr(net, "net", net)
            assert torch.equal(inside.patch.weight, base.net.patch.weight)
            assert torch.equal(inside.head.weight, base.net.head.weight) == same
            assert ("head.weight: of other classes" in str(report)) != same


@pytest.mark.fault
def test_weights_that_are_not_there_or_of_something_else(tmp_path: Path) -> None:
    net = AST(**SIZES, **OPTIONS)
    with pytest.raises(FileNotFoundError, match="gone"):
        begin_with(net, tmp_path / "gone")
    other = tmp_path / "x.pth"
    torch.save({"weight": torch.zeros(2)}, other)
    with pytest.raises(ValueError, match="ast"):
        begin_with(net, other)
    with pytest.raises(ValueError, match="nothing in Linear fits this network"):
        begin_with(net, torch.nn.Linear(2, 2))


@pytest.mark.fault
def test_losses_and_figures_that_do_not_suit_the_labels(tmp_path: Path) -> None:
    for options, message in (
        ({}, "CrossEntropy does not take: set model.loss to binary_cross_entropy"),
        ({"loss": BinaryCrossEntropy()}, "there is no top1: set model.metrics to"),
    ):
        with pytest.raises(ValueError) as error:
            fit(tmp_path, task(**options), data(several=True))
        assert message in str(error.value)
    with pytest.raises(ValueError, match="unknown metric 'f1': choose from top1, top5, map, auc"):
        task(metrics=("f1",), monitor="f1")
    with pytest.raises(ValueError, match="mixup_share is 2, but must lie in"):
        task(mixup_share=2)
    with pytest.raises(ValueError, match="network has num_classes=4, the data give 3"):
        fit(tmp_path, task(AST(**SIZES | {"num_classes": 4}, **OPTIONS)), data())


@pytest.mark.fault
def test_sounds_that_a_model_cannot_classify(tmp_path: Path) -> None:
    model = task().surrogate
    with pytest.raises(ValueError, match="does not know its classes"):
        model.predict(sound(0, 0))
    source = data()
    model.fit_to(source.description(), *source.normalizers())
    with pytest.raises(ValueError, match="has 100 samples, but one frame takes 200"):
        model.predict(sound(0, 0)[:100])
    with pytest.raises(ValueError, match="16000 Hz, but 8000 are wanted"):
        model.predict(write(tmp_path / "x.wav", sound(0, 0), rate=16000))
    with pytest.raises(ValueError, match=r"written to one of \.csv, \.parquet"):
        model.predict_file("x", tmp_path / "x.json")
    with pytest.raises(ValueError, match="holds no sounds"):
        model.predict(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")
