"""OKS, suppression, AP and PCK of poses: by hand, by COCO's tool, and what cannot be evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from surform.data.pose_keypoints import KeypointSet
from surform.data.pose_truth import PoseTruth
from surform.vision.body_parts import PARTS, part_precision
from surform.vision.found_poses import FoundPoses
from surform.vision.keypoint_precision import NAMES, keypoint_precision
from surform.vision.oks import oks, pose_similarity
from surform.vision.pck import pck, reference_size
from surform.vision.pose_suppression import suppressed
from tests.vision.poses import SIGMAS, by_coco, made


def literal_oks(found, at, flags, area, box) -> float:
    """COCO's formula, joint by joint."""
    terms = []
    for joint in range(len(found)):
        if flags.any() and not flags[joint]:
            continue
        if flags.any():
            off = found[joint] - at[joint]
        else:
            low, high = box[:2] - box[2:], box[:2] + 2 * box[2:]
            off = np.maximum(0, low - found[joint]) + np.maximum(0, found[joint] - high)
        spread = 2 * area * (2 * SIGMAS[joint]) ** 2
        terms.append(np.exp(-(off @ off) / spread))
    return float(np.mean(terms))


def test_oks_is_cocos_formula_also_where_nothing_is_labelled():
    _, truth = made(1)
    at, flags = truth.keypoints.copy(), truth.flags.copy()
    flags[0] = 0
    poses = at + np.random.default_rng(0).normal(0, 15, at.shape)
    poses[0, :9] += 900  # far outside the box
    given = (poses, at, flags > 0, truth.area, SIGMAS, truth.boxes)
    similar = oks(*map(torch.from_numpy, given)).numpy()
    for row in range(len(truth)):
        expected = literal_oks(poses[row], at[row], flags[row], truth.area[row], truth.boxes[row])
        assert similar[row] == pytest.approx(expected, abs=1e-12)
    assert oks(*map(torch.from_numpy, given[:-1])).numpy()[0] == 0


def test_poses_are_similar_over_all_joints_with_areas_averaged():
    found, _ = made(2)
    joints, area = torch.from_numpy(found.keypoints), torch.from_numpy(found.area)
    table = pose_similarity(joints, area, SIGMAS).numpy()
    flags = np.ones(17)
    for one, other in ((0, 0), (0, 3), (5, 2)):
        both = (found.area[one] + found.area[other]) / 2
        poses = found.keypoints[one], found.keypoints[other]
        assert table[one, other] == pytest.approx(literal_oks(*poses, flags, both, None))


@pytest.mark.parametrize("seed", range(6))
def test_precision_equals_cocos_tool(seed: int):
    tool = pytest.importorskip("pycocotools.cocoeval")
    found, truth = made(seed, images=4 if seed % 2 else 40)
    ours = list(keypoint_precision(found, truth, SIGMAS).values())
    assert np.nan_to_num(ours, nan=-1).tolist() == by_coco(tool.COCOeval, found, truth, SIGMAS)


@pytest.mark.parametrize("seed", range(3))
def test_categories_are_evaluated_one_by_one(seed: int):
    tool = pytest.importorskip("pycocotools.cocoeval")
    found, truth = made(seed, images=30)
    random = np.random.default_rng(seed)
    kinds = random.integers(1, 4, 200)  # one kind to an image, category 4 is never annotated
    own = np.where(random.random(len(found)) < 0.1, 4, kinds[found.image_id - 100])
    found, truth = (
        replace(found, category=own),
        replace(truth, category=kinds[truth.image_id - 100]),
    )
    ours = list(keypoint_precision(found, truth, SIGMAS).values())
    assert np.nan_to_num(ours, nan=-1).tolist() == by_coco(tool.COCOeval, found, truth, SIGMAS)
    together = keypoint_precision(replace(found, category=np.ones_like(own)), replace(
        truth, category=np.ones(len(truth), int)), SIGMAS)  # fmt: skip
    assert ours != list(together.values())


def test_perfect_missing_and_useless_poses():
    _, truth = made(3)
    count = len(truth)
    perfect = FoundPoses(
        truth.image_id,
        truth.keypoints,
        np.ones(truth.flags.shape),
        np.ones(count),
        truth.area,
        truth.boxes,
        np.arange(count),
    )
    assert set(keypoint_precision(perfect, truth, SIGMAS).values()) == {1.0}
    none = perfect.rows(np.zeros(count, bool))
    assert set(keypoint_precision(none, truth, SIGMAS).values()) == {0.0}
    far = replace(perfect, keypoints=perfect.keypoints + 1e4)
    assert set(keypoint_precision(far, truth, SIGMAS).values()) == {0.0}
    nobody = truth.rows(np.zeros(count, bool))
    assert np.isnan(list(keypoint_precision(perfect, nobody, SIGMAS).values())).all()
    half = truth.rows(truth.labelled > 0)
    large = half.area > 96**2
    assert 0 < large.mean() < 1
    figures = keypoint_precision(perfect.rows(truth.labelled > 0).rows(large), half, SIGMAS)
    assert (figures["ap_l"], figures["ap_m"]) == (1.0, 0.0)
    assert 0 < figures["ar"] < 1


def test_parts_of_a_whole_body():
    sigmas = np.linspace(0.02, 0.1, 133)
    found, truth = made(4, joints=133)
    figures = part_precision(found, truth, sigmas)
    assert list(figures) == list(PARTS)
    assert figures["whole body"] == pytest.approx(
        keypoint_precision(found, truth, sigmas), nan_ok=True
    )
    feet = keypoint_precision(found.joints([*range(17, 23)]), truth.joints([*range(17, 23)]),
                              sigmas[17:23])  # fmt: skip
    assert figures["foot"] == pytest.approx(feet, nan_ok=True)
    with pytest.raises(ValueError, match="the 133 joints of a whole body, not of 17"):
        part_precision(*made(4), SIGMAS)


def test_rescoring_takes_the_sure_joints_alone():
    found, _ = made(5)
    found = replace(found, joint_scores=found.joint_scores * 0.0 + 0.1)
    found.joint_scores[0, :4] = (0.2, 0.4, 0.6, 0.5)
    score = found.rescored(0.2).score
    assert score[0] == pytest.approx(found.score[0] * 0.5)
    assert (score[1:] == 0).all()


def test_suppression_keeps_the_surer_of_two_and_other_persons():
    found, _ = made(6)
    one = found.rows(np.array([0, 0, 0, 1]))
    score = np.array([0.5, 0.9, 0.7, 0.1])
    image = np.array([3, 3, 4, 3])
    one = replace(one, score=score, image_id=image, number=np.arange(4))
    kept = suppressed(one, SIGMAS, 0.9)
    assert kept.number.tolist() == [1, 3, 2]  # by image, the surest first
    softly = suppressed(one, SIGMAS, 0.9, soft=True)
    assert softly.number.tolist() == [1, 0, 3, 2]  # 0.5 exp(-1 / 0.9) = 0.16 is still before 0.1
    many = replace(found.rows(np.zeros(30, int)), score=np.linspace(0, 1, 30))
    assert len(suppressed(many, SIGMAS, soft=True)) == 20
    assert len(suppressed(many, SIGMAS)) == 1
    with pytest.raises(ValueError, match="threshold is 0, but must be positive"):
        suppressed(one, SIGMAS, 0)


def test_poses_are_counted_once_and_written_as_coco_rows():
    found, _ = made(7)
    parts = FoundPoses.joined([found.rows(np.array([4, 2])), found.rows(np.array([2, 5]))])
    assert parts.once().number.tolist() == [4, 2, 5]
    row = replace(found, category=np.full(len(found), 3)).results()[2]
    assert row["image_id"] == found.image_id[2]
    assert row["category_id"] == 3
    assert row["keypoints"][3:5] == pytest.approx(found.keypoints[2, 1].tolist(), abs=1e-3)
    assert row["keypoints"][5] == pytest.approx(found.joint_scores[2, 1], abs=1e-3)
    assert row["score"] == found.score[2]
    with pytest.raises(ValueError, match="not a single batch"):
        FoundPoses.joined([])


def joint_set(*names: str) -> KeypointSet:
    count = len(names)
    return KeypointSet("mine", names, (), (), (), (0.05,) * count, (1.0,) * count)


def test_pck_counts_labelled_joints_within_a_share_of_the_size():
    truth = np.zeros((3, 2, 2))
    joints = truth.copy()
    joints[:, 0, 0] = (1.0, 2.0, 3.0)  # distances of the first joint
    joints[0, 1] = (30, 40)
    labelled = np.array([[True, True], [True, False], [True, False]])
    found = pck(joints, truth, labelled, np.array([10.0, 10.0, 10.0]), 0.25)
    np.testing.assert_allclose(found.right, [2 / 3, 0])
    np.testing.assert_allclose(found.error, [2, 50])
    np.testing.assert_allclose(found.relative, [0.2, 5])
    assert found.counted.tolist() == [3, 1]
    assert found.mean == pytest.approx(1 / 3)
    assert found.mean_error == pytest.approx((1 + 2 + 3 + 50) / 4)
    unknown = pck(joints, truth, labelled, np.array([np.nan, 0.0, 10.0]), 0.25)
    np.testing.assert_array_equal(unknown.right, [0, np.nan])
    assert np.isnan(pck(joints, truth, labelled, np.zeros(3)).mean)


def test_sizes_of_persons():
    own = joint_set("head_top", "upper_neck", "left_shoulder", "right_hip")
    truth = np.array([[[0, 0], [3, 4], [1, 0], [1, 12.0]]] * 2)
    labelled = np.array([[True] * 4, [True, False, True, True]])
    boxes = np.array([[0, 0, 5, 9.0], [0, 0, 8, 2]])
    assert reference_size("box", own, truth, labelled, boxes).tolist() == [9, 8]
    np.testing.assert_array_equal(reference_size("head", own, truth, labelled, boxes), [5, np.nan])
    assert reference_size("torso", own, truth, labelled, boxes).tolist() == [12, 12]


@pytest.mark.fault
def test_a_metric_that_needs_areas_says_so():
    found, truth = made(8)
    area = truth.area.copy()
    area[2:4] = np.nan
    lacking = replace(truth, area=area, where="mine.json")
    message = f"mine.json has none for 2 of {len(truth)} annotations .the first one in image"
    with pytest.raises(ValueError, match=message):
        keypoint_precision(found, lacking, SIGMAS)
    filled = lacking.with_areas(0.53)
    np.testing.assert_allclose(filled.area[2:4], 0.53 * truth.boxes[2:4, 2:].prod(1))
    assert list(keypoint_precision(found, filled, SIGMAS)) == list(NAMES)


@pytest.mark.fault
def test_poses_and_annotations_of_other_joints():
    found, truth = made(9)
    with pytest.raises(ValueError, match="the poses have 5 joints, the annotations 17"):
        keypoint_precision(found.joints([0, 1, 2, 3, 4]), truth, SIGMAS)
    with pytest.raises(ValueError, match="there are 16 sigmas, but poses of 17 joints"):
        keypoint_precision(found, truth, SIGMAS[:16])
    with pytest.raises(ValueError, match=r"area has shape \(3,\), but must have"):
        PoseTruth(**vars(truth) | {"area": truth.area[:3]})


@pytest.mark.fault
def test_a_size_of_joints_that_the_set_lacks():
    own, nothing = joint_set("nose", "left_shoulder"), np.zeros((1, 2, 2))
    for by, joint in (("head", "head_top or top_head or head"), ("torso", "right_hip")):
        with pytest.raises(ValueError, match=f"PCK by {by} needs the joint {joint}, which the"):
            reference_size(by, own, nothing, np.ones((1, 2), bool), np.ones((1, 4)))
    with pytest.raises(ValueError, match="pck_by is 'hand', but must be one of"):
        reference_size("hand", own, nothing, np.ones((1, 2), bool), np.ones((1, 4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold is -1, but must be positive"):
        pck(nothing, nothing, np.ones((1, 2), bool), np.ones(1), -1)
