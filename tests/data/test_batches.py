from __future__ import annotations

import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection

from surform.data.batches import FieldBatch


def steady(**changes: object) -> FieldBatch:
    values = {
        "inputs": torch.zeros(2, 5, 3, 4),
        "targets": torch.zeros(2, 5, 3, 1),
        "coordinates": (torch.zeros(5), torch.zeros(3)),
        "auxiliary": {"du_dx": torch.zeros(2, 5, 3)},
        "index": torch.arange(2),
    }
    return FieldBatch(**(values | changes))  # type: ignore[arg-type]


def test_a_batch_knows_its_size_and_kind() -> None:
    assert len(steady()) == 2
    assert not steady().time_window
    windows = steady(inputs=torch.zeros(2, 7, 5, 3, 4), targets=torch.zeros(2, 2, 5, 3, 1))
    assert windows.time_window


def test_to_moves_every_tensor() -> None:
    moved = steady().to("meta")
    tensors = [moved.inputs, moved.targets, *moved.coordinates, *moved.auxiliary.values()]
    assert {t.device.type for t in [*tensors, moved.index]} == {"meta"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(2, 4)}, "dimensions"),
        ({"targets": torch.zeros(2, 5, 4, 1)}, "targets lie on a grid"),
        ({"targets": torch.zeros(3, 5, 3, 1)}, "2 inputs but 3 targets"),
        ({"targets": torch.zeros(2, 1, 5, 3, 1)}, "dimensions"),
    ],
)
def test_inconsistent_batches_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steady(**changes)


def test_lightning_can_convert_the_precision_of_a_batch() -> None:
    converted = apply_to_collection(
        steady(), torch.Tensor, lambda t: t.double() if t.is_floating_point() else t
    )
    assert converted.inputs.dtype == converted.auxiliary["du_dx"].dtype == torch.float64
    assert converted.index.dtype == torch.int64


def test_targets_may_lie_on_a_grid_of_their_own() -> None:
    coarse = (torch.zeros(2), torch.zeros(4))
    batch = steady(targets=torch.zeros(2, 2, 4, 1), target_coordinates=coarse)
    assert [len(x) for x in batch.target_coordinates] == [2, 4]
    plain = steady()
    assert plain.target_coordinates is plain.coordinates
    with pytest.raises(ValueError, match=r"targets lie on a grid \(5, 3\), the coordinates on"):
        steady(target_coordinates=coarse)
