"""A pose network in colours: bytes and fractions, flips, data sets, saving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.hub import load_model
from surform.hub.export import export
from surform.vision.flipping import flip_test
from surform.vision.pose_estimator import IMAGENET_MEAN, PoseEstimator
from tests.vision.nets import plus_net, pose_net

PAIRS = [(1, 2), (3, 4)]


def pictures(count: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 256, (count, 3, 48, 32), dtype=torch.uint8)


def test_bytes_and_fractions_are_the_same_colours():
    model = PoseEstimator(pose_net()).eval()
    torch.testing.assert_close(model(pictures()), model(pictures() / 255))
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None].expand(3, 48, 32)
    assert model.normalized(mean[None]).abs().max() < 1e-6


def test_weights_of_half_precision_take_bytes_and_fractions(tmp_path: Path):
    model = PoseEstimator(pose_net()).eval()
    expected = model(pictures())
    half = PoseEstimator(model.net.bfloat16()).eval()  # statistics stay exact
    again = load_model(half.save_pretrained(tmp_path / "half"))
    for one in (half, again):
        for crops in (pictures(), pictures() / 255):
            found = one(crops)
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)


def test_pairs_ask_for_the_flip_test():
    model = PoseEstimator(pose_net()).eval()
    expected = flip_test(model.net, model.normalized(pictures()), PAIRS)
    assert torch.equal(model(pictures(), pairs=PAIRS), expected)
    mixed, dataset = PoseEstimator(plus_net(joints=(5,))).eval(), torch.tensor([2, 0])
    found = mixed(pictures(), dataset, pairs=PAIRS)
    torch.testing.assert_close(found[:1], mixed(pictures()[:1], 2, pairs=PAIRS))


def test_it_comes_back_as_it_was_saved(tmp_path: Path):
    for net, beside in ((pose_net(), ()), (plus_net(), (1,))):
        model = PoseEstimator(net).eval()
        model.fit_colors((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
        again = load_model(model.save_pretrained(tmp_path / "model"))
        assert type(again) is PoseEstimator
        assert torch.equal(again(pictures(), *beside), model(pictures(), *beside))


def test_onnx_equals_the_model_for_any_batch_and_mixture(tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    model = PoseEstimator(plus_net(decoder="simple", depth=1)).eval()
    assert export(model, tmp_path / "plus.onnx") <= 1e-4
    session = runtime.InferenceSession(
        str(tmp_path / "plus.onnx"), providers=["CPUExecutionProvider"]
    )
    images, dataset = pictures(5) / 255, torch.tensor([2, 0, 1, 1, 0])
    given = {"images": images.numpy(), "dataset": dataset.numpy()}
    found = torch.from_numpy(session.run(["output"], given)[0])
    torch.testing.assert_close(found, model(images, dataset), rtol=0, atol=1e-4)


def test_pt2_equals_the_model_for_any_batch(tmp_path: Path):
    model = PoseEstimator(pose_net(depth=1)).eval()
    assert export(model, tmp_path / "plain.pt2") <= 1e-5
    program = torch.export.load(tmp_path / "plain.pt2").module()
    torch.testing.assert_close(program(images=pictures(5) / 255), model(pictures(5)))


@pytest.mark.fault
def test_data_sets_where_none_is_wanted_and_none_where_one_is():
    with pytest.raises(ValueError, match="ViTPosePlus needs number of a data set"):
        PoseEstimator(plus_net())(pictures())
    with pytest.raises(ValueError, match="ViTPose takes no number of a data set"):
        PoseEstimator(pose_net())(pictures(), 0)
