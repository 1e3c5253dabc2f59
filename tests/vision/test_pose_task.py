"""Training of pose networks: targets, figures, mixed data sets, teachers, resuming, reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import Adam

import surform
from surform.training.checkpoint import load_surrogate, read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from surform.training.schedules import Constant
from surform.vision.distillation import with_token
from surform.vision.flipping import flip_test
from surform.vision.heatmap_losses import CombinedHeatmapMSE, HardKeypointMSE, HeatmapMSE
from surform.vision.heatmap_targets import make_targets
from surform.vision.keypoint_precision import keypoint_precision
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.pose_locating import locate, to_crop
from surform.vision.pose_suppression import suppressed
from surform.vision.pose_task import PoseTask
from surform.vision.vitpose import ViTPose
from surform.vision.vitpose_plus import ViTPosePlus
from tests.training.toy import trainer
from tests.vision.pose_toy import SIZE, DotData, joint_set

SMALL: dict[str, Any] = {
    "image_size": SIZE, "dim": 24, "depth": 1, "heads": 2, "joints": 3, "deconv_channels": (16, 16),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def task(net: torch.nn.Module | None = None, **options: Any) -> PoseTask:
    torch.manual_seed(0)
    options = {"optimizer": lambda params: Adam(params, lr=3e-3), "schedule": Constant()} | options
    return PoseTask(net or ViTPose(**SMALL), **options)


def fit(place: Path, module: PoseTask, source: DotData | None = None, **options: Any) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, source or DotData())
    return run


def test_training_learns_and_figures_are_those_of_the_whole_split(tmp_path: Path) -> None:
    module, source = task(metrics=["ap", "ar75", "pck", "joint_error"]), DotData(96)
    run = fit(tmp_path, module, source, max_epochs=25)
    figures = run.test(module, source, verbose=False)[0]
    batch = source.batch([*range(96, 105)])
    module.eval()
    with torch.no_grad():
        crops = module.surrogate.normalized(batch.images)
        maps = flip_test(module.surrogate.net, crops, [])
        found = locate(maps, "udp", batch.center, batch.scale)
    off = (found.xy - batch.keypoints).norm(dim=-1)
    known = batch.flags > 0
    assert figures["test/joint_error/clean"] == pytest.approx(off[known].mean().item(), rel=1e-4)
    near = (off < 0.2 * 48) & known
    shares = near.sum(0) / known.sum(0)
    assert figures["test/pck/clean"] == pytest.approx(shares.mean().item(), rel=1e-5)
    assert figures["test/pck/clean"] > 0.8
    assert figures["test/ap/clean"] > 0.3
    truth = source.ground_truth("test")
    scores = module._scores.of(0)
    assert scores is not None
    expected = keypoint_precision(scores[0].rescored(), truth, joint_set().sigmas)
    for name in ("ap", "ar75"):
        assert figures[f"test/{name}/clean"] == pytest.approx(expected[name])
    assert module.profiles["test"]["precision/0"][0] == pytest.approx(expected["ap"])
    targets = make_targets(batch.joints, batch.visible, SIZE, (12, 8), "udp")
    loss = ((maps - targets[0]) * targets[1][..., None, None]).square().mean()
    assert figures["test/loss/clean"] == pytest.approx(loss.item(), rel=1e-4)
    assert module.remarks == ["2 persons without joints were left out."]


@pytest.mark.parametrize(
    ("encoding", "limit"),
    [("msra", 0.8), ("msra_unbiased", 0.3), ("udp", 0.3), ("udp_combined", 2.6), ("megvii", 0.9)],
)
def test_targets_of_every_encoding_lead_back_to_the_image(encoding: Any, limit: float) -> None:
    """Off by less than `limit` pixels of the heatmap."""
    torch.manual_seed(0)
    keypoints = torch.rand(20, 5, 2) * torch.tensor([100.0, 150.0]) + 50
    center, scale = torch.tensor([[105.0, 128.0]]), torch.tensor([[0.9, 1.2]])
    center, scale = center.expand(20, 2), scale.expand(20, 2)
    size, aligned = (256, 192), encoding.startswith("udp")
    crop = to_crop(keypoints, center, scale, size, aligned=aligned)
    assert ((crop > 0) & (crop < torch.tensor([192.0, 256.0]))).all()
    maps, weight = make_targets(crop, torch.ones(20, 5), size, (64, 48), encoding)
    assert weight.all()
    found = locate(maps, encoding, center, scale)
    pixel = 200 * 1.2 / 64
    assert (found.xy - keypoints).norm(dim=-1).max() < limit * pixel


@pytest.mark.parametrize("loss", [HardKeypointMSE(2), HeatmapMSE()])
def test_losses_weigh_joints_as_the_set_says(loss: torch.nn.Module, tmp_path: Path) -> None:
    source = DotData()
    source.sets = (replace(source.sets[0], weights=(1.0, 2.0, 0.5)),)
    module = task(loss=loss, joint_weights=True)
    fit(tmp_path, module, source)
    weight = module.predict_batch(source.batch([0, 1, 2])).weight
    expected = source.visible[:3] * torch.tensor([1, 2, 0.5])
    torch.testing.assert_close(weight, expected)


def test_offsets_train_with_their_loss(tmp_path: Path) -> None:
    module = task(ViTPose(**SMALL | {"joints": 9}), loss=CombinedHeatmapMSE(), metrics=["pck"],
                  monitor="pck")  # fmt: skip
    source = DotData(encoding="udp_combined")
    run = fit(tmp_path, module, source)
    assert run.callback_metrics["validation/pck/clean"] >= 0


def test_several_data_sets_have_heads_targets_and_figures_of_their_own(tmp_path: Path) -> None:
    source = DotData(sets=2)
    source.sets = (joint_set("wide", 3), joint_set("narrow", 2, skeleton=((0, 1),)))
    net = ViTPosePlus(**SMALL | {"joints": (3, 2), "experts": 2, "part_features": 4})
    module = task(net, metrics=["ap", "pck"])
    run = fit(tmp_path, module, source)
    batch = source.batch([*range(6)])
    prediction = module.eval().predict_batch(batch)
    second = batch.dataset == 1
    assert 0 < second.sum() < 6
    assert (prediction.target[second, 2] == 0).all()
    assert (prediction.weight[second, 2] == 0).all()
    assert prediction.joints.tolist() == [2 if s else 3 for s in second]
    one = module.surrogate.normalized(batch.images[second])
    maps = flip_test(net, one, [], 1)
    torch.testing.assert_close(prediction.output[second, :2], maps)
    half = prediction.output.bfloat16()  # places in the image need more digits
    found = module.surrogate.located(half, batch.dataset, batch.center, batch.scale)
    assert (found.xy.dtype, found.score.dtype) == (torch.float32, torch.float32)
    profiles = module.profiles["validation"]
    assert len(profiles["pck_of_joints/0"]) == 3
    assert len(profiles["pck_of_joints/1"]) == 2
    both = [np.array(profiles[f"pck_of_joints/{n}"]).mean() for n in (0, 1)]
    assert run.callback_metrics["validation/pck/clean"].item() == pytest.approx(np.mean(both))


def test_learning_rates_fall_with_depth() -> None:
    module = task(ViTPose(**SMALL | {"depth": 3}), layer_decay=0.5)
    scales = {group["lr_scale"] for group in module.trained()}
    assert scales == {0.5**n for n in range(5)}


def test_training_starts_from_what_fits_and_says_so(tmp_path: Path) -> None:
    donor = task(ViTPose(**SMALL | {"joints": 5})).surrogate
    source = DotData()
    donor.save_pretrained(tmp_path / "start")
    module = task(weights=str(tmp_path / "start"))
    fit(tmp_path, module, source, max_steps=0, max_epochs=-1)
    own, given = module.surrogate.net, donor.net
    assert torch.equal(own.backbone.patch.weight, given.backbone.patch.weight)
    remark = module.remarks[-1]
    for text in (
        "kept",
        "fresh head.final.weight: (5, 16, 1, 1) in the source, (3, 16, 1, 1) here",
    ):
        assert text in remark, remark


def test_a_teacher_hands_on_heatmaps_and_its_token(tmp_path: Path) -> None:
    source, place = DotData(), str(tmp_path / "teacher")
    teacher = with_token(ViTPose(**SMALL))
    first = task(teacher, token_only=True)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit(tmp_path, first, source)
    moved = [n for n, v in teacher.state_dict().items() if not torch.equal(v, before[n])]
    assert moved == ["backbone.knowledge.token"]
    first.surrogate.save_pretrained(place)
    student = ViTPose(**SMALL | {"dim": 16, "knowledge_dim": 24})
    module = task(student, teacher=place)
    fit(tmp_path, module, source)
    assert torch.equal(student.backbone.knowledge.token, teacher.backbone.knowledge.token)
    batch = source.batch([0, 1, 2])
    prediction, loss = module.train().training_loss(batch)
    with torch.no_grad():
        shown = teacher.eval()(module.surrogate.normalized(batch.images))
    expected = HeatmapMSE()(prediction) + (prediction.output - shown).square().mean()
    torch.testing.assert_close(loss, expected)


def test_a_killed_and_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    def run(place: Path, epochs: int, resume: bool = False) -> dict[str, Any]:
        torch.manual_seed(0)
        net = ViTPose(**SMALL | {"drop_path": 0.3, "depth": 2})
        module = task(net, ema_decay=0.9, layer_decay=0.7)
        keeper = Checkpoints(place, every_n_steps=2)
        options = {"callbacks": [keeper, ExactResume()], "enable_checkpointing": True}
        once = trainer(place, max_epochs=epochs, **options)
        path = place / "last.ckpt" if resume else None
        once.fit(module, DotData(), ckpt_path=path, weights_only=True)
        return read_checkpoint(place / "last.ckpt")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 3, resume=True)
    assert whole["global_step"] == parts["global_step"] == 12
    for key in ("state_dict", "training_weights"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_the_best_checkpoint_is_that_of_the_greatest_ap_and_the_report_shows_it(
    tmp_path: Path,
) -> None:
    keeper, module = Checkpoints(tmp_path), task()
    options = {"callbacks": [keeper, RunFolder(tmp_path)], "enable_checkpointing": True}
    fit(tmp_path, module, max_epochs=3, logger=MetricsLogger(), **options)
    import pandas as pd

    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert keeper.best_value == pytest.approx(rows["validation/ap/clean"].max(), rel=1e-5)
    page = (tmp_path / "report.html").read_text()
    for text in ("Crops of the validation split", "AP, large persons", "right_hand", "PCK: within"):
        assert text in page, text
    assert (tmp_path / "plots" / "prediction-1.png").is_file()
    model = surform.load_model(tmp_path / "model")
    assert isinstance(model, PoseEstimator)
    assert model.description.sets == (joint_set(),)
    batch = DotData().batch([0, 1])
    torch.testing.assert_close(model.outputs(batch), module.eval().surrogate.outputs(batch))
    torch.testing.assert_close(
        load_surrogate(tmp_path / "best.ckpt").outputs(batch), model.outputs(batch)
    )


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"metrics": ["top1"]}, {}, "unknown metric 'top1': choose from ap, ap50"),
        ({"monitor": "ar_l"}, {}, "monitor 'ar_l' is not among the metrics ap, ap50"),
        ({"pck_by": "foot"}, {}, "pck_by is 'foot', but must be one of"),
        ({"pck_threshold": 0}, {}, "pck_threshold is 0, but must be positive"),
        ({"sigma": 1.5}, {}, "sigma is 1.5, but must be a multiple of a third, such as 1"),
        ({"box_area": 2.0}, {}, r"box_area is 2.0, but must lie in \(0, 1\]"),
        ({"pck_by": "torso"}, {}, "PCK by torso needs the joint left_shoulder, which the keypoint"),
        ({}, {"known_areas": False}, "dots.json has none for 9 of 9 annotations"),
        ({"net": {"joints": 4}}, {}, "the network has joints=4, the data give 3 .left_hand, right"),
        ({"net": {"image_size": (32, 32)}}, {}, "image_size=.32, 32., the data give .48, 32."),
        ({"token_only": True}, {}, "trains the knowledge token, but the network has none"),
        ({"loss": CombinedHeatmapMSE()}, {}, "data.encoding is udp: set model.loss to heat"),
        ({"net": {"joints": 9}}, {"encoding": "udp_combined"}, "set model.loss to heatmap_comb"),
        ({"weights": "no/such.pth"}, {}, "no/such.pth"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(
    tmp_path: Path, options: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    options = dict(options)
    net = ViTPose(**SMALL | options.pop("net", {}))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fit(tmp_path, task(net, **options), DotData(**given))


@pytest.mark.fault
def test_teachers_that_cannot_teach(tmp_path: Path) -> None:
    wide = task(ViTPose(**SMALL | {"joints": 4})).surrogate.save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match="has joints 4, the student 3: they must agree"):
        fit(tmp_path, task(teacher=str(wide)))
    token = task(with_token(ViTPose(**SMALL))).surrogate.save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match=r"token of width 24: set model\.net.knowledge_dim to 24"):
        fit(tmp_path, task(teacher=str(token)))
    known = task(ViTPose(**SMALL)).surrogate
    about = DotData().description()
    known.fit_to(replace(about, encodings=("msra",)), *DotData().normalizers())
    other = known.save_pretrained(tmp_path / "c")
    with pytest.raises(ValueError, match=r"trained with encodings msra, the student of .*c has"):
        fit(tmp_path, task(teacher=str(other)))
    known.fit_to(about, *DotData().normalizers())
    known.fit_colors([0.5] * 3, [0.1] * 3)
    pale = known.save_pretrained(tmp_path / "d")
    with pytest.raises(ValueError, match=r"knows colors of mean \[0\.5, 0\.5, 0\.5\], the student"):
        fit(tmp_path, task(teacher=str(pale)))


def test_areas_that_are_not_known_may_be_a_share_of_the_box(tmp_path: Path) -> None:
    run = fit(tmp_path, task(box_area=0.53), DotData(known_areas=False))
    assert torch.isfinite(run.callback_metrics["validation/ap/clean"])


def test_a_whole_body_is_evaluated_by_parts() -> None:
    from surform.data.pose_published import keypoint_set
    from surform.vision.body_parts import part_precision
    from surform.vision.pose_figures import _precision
    from surform.vision.pose_scores import evaluate_set
    from tests.vision.poses import made

    joints = keypoint_set("coco_wholebody")
    found, truth = made(3, joints=133)
    rows = np.arange(min(len(found), len(truth)))
    own = evaluate_set(joints, found.rows(rows), truth.rows(rows), truth, ["ap"])
    kept = suppressed(found.rows(rows).rescored(), joints.sigmas)
    for part, expected in part_precision(kept, truth, joints.sigmas).items():
        assert own.parts[part] == pytest.approx(expected, nan_ok=True)
    (table,) = _precision(own.rows(), "").tables.values()
    assert list(table[0]) == ["figure", *own.parts]
    assert table[0]["face"] == pytest.approx(own.parts["face"]["ap"])
    assert table[0]["whole body"] == pytest.approx(own.values["ap"])
