from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surform.data.lazy_arrays import Concatenated, Part, lazy_variable


def key(data: st.DataObject, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    parts = []
    for size in shape:
        if data.draw(st.booleans()):
            parts.append(data.draw(st.integers(0, size - 1)))
        else:
            start = data.draw(st.integers(0, size))
            parts.append(
                slice(start, data.draw(st.integers(start, size)), data.draw(st.integers(1, 3)))
            )
    return tuple(parts)


@given(st.data())
def test_joined_parts_read_like_one_array(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    arrays = [np.random.default_rng(n).random((count, 5, 3)) for n, count in enumerate(counts)]
    joined = Concatenated([Part(a, (0, 1, 2), a.shape) for a in arrays])
    expected = np.concatenate(arrays)
    index = key(data, expected.shape)
    np.testing.assert_array_equal(joined.read(index), expected[index])


@given(st.data())
def test_missing_axes_repeat_and_fixed_ones_vanish(data: st.DataObject) -> None:
    stored = np.random.default_rng(0).random((4, 1, 3, 2))  # time, x of length 1, y, component
    view = Part(stored, (None, 0, 1, 2), (5, 4, 6, 3), fixed={3: 1})
    expected = np.broadcast_to(stored[None, :, :, :, 1], (5, 4, 6, 3))
    index = key(data, expected.shape)
    np.testing.assert_array_equal(view.read(index), expected[index])


def test_xarray_indexing_reaches_the_stored_array_as_boxes() -> None:
    stored = np.random.default_rng(0).random((6, 5, 4))
    variable = lazy_variable(("sample", "x", "y"), Part(stored, (0, 1, 2), stored.shape))
    np.testing.assert_array_equal(variable[4, ::2].values, stored[4, ::2])
    np.testing.assert_array_equal(variable[[3, 1], :, ::-1].values, stored[[3, 1], :, ::-1])
