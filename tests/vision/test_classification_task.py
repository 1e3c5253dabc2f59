"""Training of classifiers: figures, confusion, mixing, starting weights, reports, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch.optim import SGD, Adam

import surform
from surform.data.images_module import ImagesData
from surform.hub.official.cct import SYSTEM
from surform.training.checkpoint import load_surrogate, read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from surform.training.schedules import Constant
from surform.vision.cct import CCT
from surform.vision.compact_start import begin_with
from surform.vision.published import published
from surform.vision.task import ClassificationTask
from tests.data.image_files import CLASSES, arrays, folder, picture
from tests.training.toy import trainer

SMALL: dict[str, Any] = {
    "image_size": 8, "in_channels": 3, "num_classes": 3, "dim": 16, "depth": 1, "heads": 2,
    "mlp_ratio": 1.0, "conv_layers": 1, "kernel_size": 3, "attention_dropout": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def data(count: int = 60, **options: Any) -> ImagesData:
    split = {"train": 0.5, "validation": 0.2, "test": 0.3}
    given = {"split": split, "batch_size": 6, "eval_batch_size": 7} | options
    return ImagesData(arrays(count), **given)


def task(net: torch.nn.Module | None = None, **options: Any) -> ClassificationTask:
    torch.manual_seed(0)
    options = {"optimizer": lambda params: Adam(params, lr=5e-3), "schedule": Constant()} | options
    return ClassificationTask(net or CCT(**SMALL), **options)


def fit(
    place: Path, module: ClassificationTask, source: ImagesData | None = None, **options: Any
) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, source or data())
    return run


def test_training_learns_and_figures_are_means_over_all_images(tmp_path: Path) -> None:
    module, source = task(), data()
    run = fit(tmp_path, module, source, max_epochs=6)
    figures = run.test(module, source, verbose=False)[0]
    samples = source.samples("test")
    batch = samples[list(range(len(samples)))]
    with torch.no_grad():
        logits = module.eval().surrogate(batch.images)
    right = (logits.argmax(1) == batch.targets).float().mean().item()
    assert figures["test/top1/clean"] == pytest.approx(right)
    assert figures["test/top5/clean"] == 1.0
    assert right > 0.8
    expected = torch.nn.functional.cross_entropy(logits, batch.targets).item()
    assert figures["test/loss/clean"] == pytest.approx(expected, rel=1e-4)
    confusion = torch.tensor(module.profiles["test"]["confusion"])
    assert confusion.sum().item() == pytest.approx(1)
    assert confusion.diagonal().sum().item() == pytest.approx(right)
    shares = batch.targets.bincount() / len(samples)
    torch.testing.assert_close(confusion.sum(1), shares, check_dtype=False)


def test_many_classes_keep_their_recall_only() -> None:
    module = task(CCT(**SMALL | {"num_classes": 120}))
    logits, labels = torch.randn(9, 120), torch.arange(9)
    logits[:4, :4] += 50 * torch.eye(4)
    from surform.training.prediction import Prediction

    truth = torch.nn.functional.one_hot(labels, 120).float()
    found = module.profile_batch(Prediction(logits, truth), None)
    assert set(found) == {"class_share", "class_found"}
    assert found["class_found"].sum() >= 4
    assert torch.equal(found["class_share"], truth)


def test_vectors_are_not_decayed() -> None:
    module = task()
    groups = module.trained()
    spared = {id(p) for g in groups if g.get("weight_decay") == 0.0 for p in g["params"]}
    for name, weight in module.surrogate.net.named_parameters():
        assert (id(weight) in spared) == (weight.ndim < 2), name


def test_mixing_acts_in_training_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    module, source = task(mixup=0.8, mix_epochs=1), data()
    module.surrogate.fit_to(source.description(), *source.normalizers())
    batch = source.samples("train")[range(6)]
    monkeypatch.setattr(type(module), "current_epoch", 0)
    mixed = module.train().predict_batch(batch).target
    assert (mixed.max(1).values < 1).any()
    monkeypatch.setattr(type(module), "current_epoch", 1)
    assert module.predict_batch(batch).target.max(1).values.eq(1).all()
    monkeypatch.setattr(type(module), "current_epoch", 0)
    assert module.eval().predict_batch(batch).target.max(1).values.eq(1).all()


def test_soft_labels_are_targets_as_they_are(tmp_path: Path) -> None:
    images, labels = arrays(60)
    chances = torch.eye(3)[torch.from_numpy(labels)] * 0.7 + 0.1
    source = ImagesData((images, chances.numpy()), batch_size=6)
    module = task(mixup=0.5)
    module.surrogate.fit_to(source.description(), *source.normalizers())
    batch = source.samples("train")[range(6)]
    torch.testing.assert_close(module.eval().predict_batch(batch).target, batch.targets)


def test_a_killed_and_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    def run(place: Path, epochs: int, resume: bool = False) -> dict[str, Any]:
        torch.manual_seed(0)
        net = CCT(**SMALL | {"dropout": 0.2, "drop_path": 0.2, "depth": 2})
        module = task(net, mixup=0.8, cutmix=1.0, erasing=0.3, ema_decay=0.9)
        keeper = Checkpoints(place, every_n_steps=2)
        options = {"callbacks": [keeper, ExactResume()], "enable_checkpointing": True}
        once = trainer(place, max_epochs=epochs, **options)
        path = place / "last.ckpt" if resume else None
        once.fit(module, data(shift=1, flip=0.5), ckpt_path=path, weights_only=True)
        return read_checkpoint(place / "last.ckpt")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 3, resume=True)
    assert whole["global_step"] == parts["global_step"] == 15
    for key in ("state_dict", "training_weights"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_the_best_checkpoint_is_that_of_the_greatest_accuracy(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path)
    module = task(optimizer=lambda params: SGD(params, lr=0.05))
    options = {"callbacks": [keeper, RunFolder(tmp_path)], "enable_checkpointing": True}
    fit(tmp_path, module, max_epochs=3, logger=MetricsLogger(), **options)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert keeper.best_value == pytest.approx(rows["validation/top1/clean"].max(), rel=1e-5)
    page = (tmp_path / "report.html").read_text()
    for text in ("Predictions", "Confusion", "found (recall)", "top-1 accuracy that chose"):
        assert text in page, text
    assert (tmp_path / "plots" / "prediction-1.png").is_file()


def test_a_saved_classifier_answers_alike_and_predicts_into_tables(tmp_path: Path) -> None:
    path = folder(tmp_path / "photos", each=8)
    source = ImagesData(str(path), image_size=8, batch_size=6, interpolation="bilinear")
    module = task()
    run = fit(tmp_path, module, source, max_epochs=4)
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    module.surrogate.save_pretrained(tmp_path / "model")
    model = surform.load_model(tmp_path / "model")
    batch = source.samples("test")[[0, 1]]
    for one in (model, load_surrogate(tmp_path / "a.ckpt")):
        torch.testing.assert_close(one(batch.images), module.eval().surrogate(batch.images))
    table = model.predict(str(path), batch_size=5)
    assert list(table) == ["image", "prediction", "probability", *(f"p_{n}" for n in CLASSES)]
    assert table["image"][0] == "cat/0.png"
    assert len(table) == 24
    chances = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    assert chances.sum(1) == pytest.approx(1, abs=1e-5)
    assert (chances.max(1) == table["probability"]).all()
    for kind in (".csv", ".parquet"):
        out = model.predict_file(str(path), tmp_path / f"out{kind}")
        read = pd.read_csv(out) if kind == ".csv" else pd.read_parquet(out)
        pd.testing.assert_frame_equal(read, table, check_dtype=False, rtol=1e-4)
    single = model.predict(str(path / "owl" / "3.png"))
    assert single["image"].tolist() == ["3.png"]
    torch.testing.assert_close(
        torch.from_numpy(single[[f"p_{n}" for n in CLASSES]].to_numpy()[0]),
        torch.from_numpy(table[table["image"] == "owl/3.png"].iloc[0, 3:].to_numpy(float)),
        check_dtype=False, rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    pixels = model.predict(picture(0, 0, (30, 20))[None])  # arrays of any size, too
    assert len(pixels) == 1


@pytest.mark.fault
def test_what_a_classifier_cannot_predict(tmp_path: Path) -> None:
    source, module = data(), task()
    module.surrogate.fit_to(source.description(), *source.normalizers())
    model = module.surrogate.eval()
    images, _ = arrays()
    cases = [
        (images[..., 0], "trained on the channels red, green, blue, the array has grey"),
        (images / 7, "trained on 8-bit images, the array holds numbers as they are"),
        (str(tmp_path), "holds no images"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            model.predict(given)
    with pytest.raises(ValueError, match=r"written to one of \.csv, \.parquet"):
        model.predict_file("digits", tmp_path / "x.txt")
    Image.fromarray(images[0]).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        model.predict(str(tmp_path), batch_size=0)
    model.description = None
    with pytest.raises(ValueError, match="does not know its classes"):
        model.predict(str(tmp_path))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"metrics": ["rmse"], "monitor": "loss"}, {}, "metric 'rmse' is not for classes"),
        ({"monitor": "top3"}, {}, "monitor 'top3' is not among"),
        ({"mixup": 0.8}, {"batch_size": 5}, "take an even size, and drop the last batch"),
        ({"cutmix": 1.0}, {"drop_last": False}, "data.drop_last false: take an even size"),
        ({}, {"image_size": 12}, "the network has image_size=8, the data give 12"),
        ({}, {"classes": ["a", "b", "c", "d"]}, "no training image of the arrays shows"),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path, options: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, task(**options), data(**given))


def test_training_starts_from_what_fits_and_says_so(tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = CCT(**SMALL | {"image_size": 16, "num_classes": 5})
    source = data()
    module = task(weights=str(tmp_path / "start"))
    donor = task(other).surrogate
    donor.fit_to(source.description(), *source.normalizers())
    donor.save_pretrained(tmp_path / "start")
    fit(tmp_path, module, source, max_steps=0, max_epochs=-1)
    net = module.surrogate.net
    assert torch.equal(net.encoder.blocks[0].norm.weight, other.encoder.blocks[0].norm.weight)
    assert torch.equal(net.tokenizer.layers[0].weight, other.tokenizer.layers[0].weight)
    wide = other.encoder.positions.unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(wide, (4, 4), mode="bilinear").flatten(2)
    torch.testing.assert_close(net.encoder.positions, small.transpose(1, 2))
    (remark,) = module.remarks
    for text in ("kept 17 of 19 tensors", "changed encoder.positions", "fresh encoder.head.weight"):
        assert text in remark, remark


def test_official_checkpoints_start_a_training(tmp_path: Path) -> None:
    net = published("cct_2_3x2_32")
    torch.save(SYSTEM.to_official(net.state_dict(), {}), tmp_path / "cct_2_3x2_32.pth")
    fresh = published("cct_2_3x2_32", image_size=64, num_classes=3)
    report = begin_with(fresh, tmp_path / "cct_2_3x2_32.pth")
    assert set(report.fresh) == {"encoder.head.weight", "encoder.head.bias"}
    assert set(report.changed) == {"encoder.positions"}
    sine = published("cct_2_3x2_32_sine", image_size=64)
    table = sine.encoder.positions.clone()
    begin_with(sine, published("cct_2_3x2_32_sine"))
    assert torch.equal(sine.encoder.positions, table)
    with pytest.raises(ValueError, match="nothing in Linear fits this network"):
        begin_with(fresh, torch.nn.Linear(2, 2))
