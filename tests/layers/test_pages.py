"""Reused memory: whoever still holds a tensor keeps its memory to themselves."""

from __future__ import annotations

import threading

import torch

from surform.layers.pages import large_empty
from surform.layers.scratch import scratch

SHAPE = (3, 1 << 20)  # 12 MB of float32
LIKE = torch.zeros(1)


def test_memory_is_used_again_once_all_views_are_gone():
    first = large_empty(SHAPE, LIKE)
    address, view = first.data_ptr(), first[1]
    view.fill_(7)
    del first
    second = large_empty(SHAPE, LIKE)
    assert second.data_ptr() != address
    second.zero_()
    assert (view == 7).all()
    del view
    assert large_empty(SHAPE, LIKE).data_ptr() == address


def test_dtype_shape_and_small_tensors():
    assert large_empty((2, 3), LIKE.double()).dtype == torch.float64
    large = large_empty((2, 1 << 20), LIKE.double())
    assert (large.dtype, large.shape) == (torch.float64, (2, 1 << 20))
    large.fill_(1)
    assert large.sum() == large.numel()


def test_a_graph_keeps_its_memory():
    weight = torch.ones(1 << 20, requires_grad=True)
    kept = large_empty((4, 1 << 20), LIKE).fill_(2)
    loss = (kept * weight).sum()
    address = kept.data_ptr()
    del kept
    assert large_empty((4, 1 << 20), LIKE).fill_(9).data_ptr() != address
    loss.backward()
    assert (weight.grad == 8).all()


def test_scratch_is_apart_in_every_thread_and_dtype():
    mine = scratch(LIKE, (4, 5), (6,))
    assert [t.shape for t in mine] == [(4, 5), (6,)]
    mine[0].fill_(1)
    mine[1].fill_(2)
    assert (mine[0] == 1).all()
    assert mine[0].data_ptr() == scratch(LIKE, (3,))[0].data_ptr()
    assert mine[0].data_ptr() != scratch(LIKE.double(), (3,))[0].data_ptr()
    other: list[int] = []
    thread = threading.Thread(target=lambda: other.append(scratch(LIKE, (3,))[0].data_ptr()))
    thread.start()
    thread.join()
    assert other != [mine[0].data_ptr()]
