"""Losses against loops over joints; heads of mixed batches; a teacher's heatmaps and token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surform.training.prediction import Prediction
from surform.vision.distillation import Distillation, with_knowledge, with_token
from surform.vision.heatmap_losses import (
    CombinedHeatmapMSE,
    HardKeypointMSE,
    HeatmapMSE,
    HeatmapPrediction,
    per_head_losses,
)
from tests.vision.nets import crops, plus_net, pose_net


def case(channels: int = 6, joints: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    output, target = torch.randn(2, 4, channels, 5, 3).double()
    weight = torch.rand(4, joints).double()
    weight[:, 1] = 0
    return output, target, weight


def test_weights_enter_squared_and_invisible_joints_count():
    output, target, weight = case()
    total = 0.0
    for joint in range(6):
        error = (output[:, joint] - target[:, joint]) * weight[:, joint, None, None]
        total += error.square().mean().item()
    found = HeatmapMSE()(Prediction(output, target, weight))
    assert found.item() == pytest.approx(total / 6)
    plain = HeatmapMSE()(Prediction(output, target))
    assert plain.item() == pytest.approx((output - target).square().mean().item())


def test_hard_keypoints_are_each_samples_own():
    output, target, weight = case()
    total = 0.0
    for sample in range(4):
        losses = [
            ((output[sample, j] - target[sample, j]) * weight[sample, j]).square().mean().item()
            for j in range(6)
        ]
        total += sum(sorted(losses)[-2:]) / 2
    found = HardKeypointMSE(top=2)(Prediction(output, target, weight))
    assert found.item() == pytest.approx(total / 4)


def test_offsets_count_inside_the_disc_only():
    output, target, weight = case(channels=18)
    target[:, ::3] = (target[:, ::3] > 0).double()
    total = 0.0
    for joint in range(6):
        w = weight[:, joint, None, None]
        disc, x, y = (output[:, 3 * joint + part] for part in range(3))
        disc_target, x_target, y_target = (target[:, 3 * joint + part] for part in range(3))
        total += 0.5 * ((disc - disc_target) * w).square().mean().item()
        for a, b in ((x, x_target), (y, y_target)):
            total += 0.5 * (disc_target * w * (a - b)).square().mean().item()
    found = CombinedHeatmapMSE()(Prediction(output, target, weight))
    assert found.item() == pytest.approx(total / 6)


@pytest.mark.parametrize("loss", [HeatmapMSE(), HardKeypointMSE(top=3)])
def test_the_loss_of_own_heads_is_the_sum_of_the_heads_losses(loss: nn.Module):
    net, dataset = plus_net(), torch.tensor([2, 0, 1, 2])
    images = crops(4)
    torch.manual_seed(0)
    target, weight = torch.randn(4, 6, 12, 8), torch.rand(4, 6)
    heads = net.eval().all_heads(images, dataset)
    each = per_head_losses(heads, target, weight, dataset, loss)
    assert each.shape == (3,)
    counts = net.joint_counts(dataset)
    own = HeatmapPrediction(net(images, dataset), target, weight, joints=counts)
    torch.testing.assert_close(loss(own), each.sum())


def test_a_head_learns_from_its_own_samples_only():
    net, dataset = plus_net().train(), torch.tensor([0, 0, 2])
    target, weight = torch.randn(3, 6, 12, 8), torch.ones(3, 6)
    out = net(crops(3), dataset)
    counts = net.joint_counts(dataset)
    HeatmapMSE()(HeatmapPrediction(out, target, weight, joints=counts)).backward()
    moved = [head.final.weight.grad.any().item() for head in net.heads]
    assert moved == [True, False, True]
    assert not net.backbone.blocks[0].feed_forward.experts.weight.grad[1].any()


@pytest.mark.fault
def test_impossible_losses_are_refused():
    output, target, weight = case()
    with pytest.raises(ValueError, match=r"weight has shape \(4, 5\), but must be .* \(4, 6\)"):
        HeatmapMSE()(Prediction(output, target, weight[:, :5]))
    with pytest.raises(ValueError, match="top is 7, but there are only 6 joints"):
        HardKeypointMSE(top=7)(Prediction(output, target))
    with pytest.raises(ValueError, match="not 4 in all"):
        CombinedHeatmapMSE()(Prediction(output[:, :4], target[:, :4]))


# -- distillation ----------------------------------------------------------------------------


def trained_names(net: nn.Module) -> list[str]:
    return [name for name, value in net.named_parameters() if value.requires_grad]


@pytest.mark.parametrize("width", [16, 24])
def test_a_token_goes_from_teacher_to_student(width: int):
    teacher = with_token(pose_net(dim=width))
    assert trained_names(teacher) == ["backbone.knowledge.token"]
    with torch.no_grad():
        teacher.backbone.knowledge.token.fill_(0.5)
    student = with_knowledge(pose_net(), teacher)
    assert student.backbone.knowledge.token.shape == (1, 1, width)
    assert (student.backbone.knowledge.token == 0.5).all()
    frozen = {name for name, _ in student.named_parameters()} - set(trained_names(student))
    assert frozen == {"backbone.knowledge.token"}
    assert ("backbone.knowledge.map.weight" in trained_names(student)) == (width != 16)
    assert student(crops()).shape == (2, 5, 12, 8)
    assert student.arguments["knowledge_dim"] == width  # a saved student can be built again


def test_the_teachers_weights_are_those_it_had():
    before = pose_net()
    after = with_token(before).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.state_dict().items())


def test_the_teachers_heatmaps_enter_the_loss_in_training():
    teacher, student = pose_net(dim=24), pose_net()
    loss = Distillation(HeatmapMSE(), teacher, weight=0.5)
    assert list(loss.parameters()) == []  # the teacher is neither trained nor saved
    images, target = crops(), torch.zeros(2, 5, 12, 8)
    prediction, batch = Prediction(student(images), target), SimpleNamespace(images=images)
    own = HeatmapMSE()(prediction)
    distance = (prediction.output - teacher(images)).square().mean()
    torch.testing.assert_close(loss(prediction, batch), own + 0.5 * distance)
    torch.testing.assert_close(loss.eval()(prediction, batch), own)


@pytest.mark.fault
def test_impossible_distillation_is_refused():
    net = pose_net()
    with pytest.raises(ValueError, match="teacher has no knowledge token"):
        with_knowledge(net, net)
    with pytest.raises(ValueError, match="has a knowledge token already"):
        with_token(with_token(net))
    with pytest.raises(ValueError, match="has a knowledge token already"):
        with_knowledge(with_token(net), with_token(net))
    loss: Any = Distillation(HeatmapMSE(), pose_net(joints=4))
    output = net(crops())
    with pytest.raises(ValueError, match="must have joints and size in common"):
        loss(Prediction(output, output.detach()), SimpleNamespace(images=crops()))
