"""AST and PaSST: literal formulas, Patchout, sizes, positions, precisions, bad arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surform.audio.adapting import adapt_positions
from surform.audio.ast import AST
from surform.audio.passt import PaSST
from surform.audio.patchout import Kept, draw
from surform.registry import create_model
from tests.audio.literal_audio import literal_ast, literal_passt

SMALL: dict[str, Any] = {
    "frames": 40, "mel_bins": 20, "num_classes": 5, "patch_size": 8, "stride": 6, "dim": 16,
    "depth": 2, "heads": 4,
}  # fmt: skip


def stirred(net: nn.Module) -> Any:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net.double()


def spectrograms(frames: int = 40, batch: int = 3) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, frames, 20, dtype=torch.float64)


def same_with_gradients(net: nn.Module, ours: Tensor, theirs: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    leaves = [x, *net.parameters()]
    found = [
        torch.autograd.grad(y.square().sum(), leaves, materialize_grads=True, allow_unused=True)
        for y in (ours, theirs)
    ]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("stride", [6, (6, 3)])
def test_ast_is_the_literal_formula(stride: Any) -> None:
    net, x = stirred(AST(**SMALL | {"stride": stride})), spectrograms().requires_grad_()
    same_with_gradients(net, net(x), literal_ast(net, x), x)


@pytest.mark.parametrize("distilled", [True, False])
def test_passt_is_the_literal_formula(distilled: bool) -> None:
    given = SMALL | {"distilled": distilled, "representation_size": 0 if distilled else 12}
    net, x = stirred(PaSST(**given)).eval(), spectrograms(34).requires_grad_()
    same_with_gradients(net, net(x), literal_passt(net, x), x)


@pytest.mark.parametrize("left_out", [(1, 0, 0), (0, 2, 0), (0, 0, 3), (1, 2, 3)])
def test_patches_are_left_out_before_the_convolution_exactly(left_out: Any) -> None:
    net, x = stirred(PaSST(**SMALL)), spectrograms(34).requires_grad_()
    kept = draw((3, 5), 2, *left_out)
    assert len(kept.places((3, 5))) == (3 - left_out[0]) * (5 - left_out[1]) - left_out[2]
    same_with_gradients(net, net(x, kept), literal_passt(net, x, kept), x)


def test_training_draws_patches_and_windows_and_evaluation_does_not() -> None:
    net = stirred(PaSST(**SMALL, patchout_time=2, patchout_frequency=1, patchout=1))
    x = spectrograms(28)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    torch.testing.assert_close(net(x), literal_passt(net, x, Kept(0)))
    state = torch.get_rng_state()
    net(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_poolings_read_the_tokens_they_name() -> None:
    x = spectrograms()
    for pooling, rows in (("both", slice(2)), ("class", slice(1)), ("mean", slice(None))):
        net = stirred(AST(**SMALL, pooling=pooling))
        expected = net.head(net.head_norm(net.features(x)[:, rows].mean(1)))
        torch.testing.assert_close(net(x), expected)


def test_published_sizes() -> None:
    with torch.device("meta"):
        ast, passt = create_model("ast"), create_model("passt")
    assert (ast.grid, passt.grid) == ((12, 101), (12, 99))
    # 88,132,063 official ones without the two heads of the image model of 1000 classes
    assert sum(p.numel() for p in ast.parameters()) == 88_132_063 - 2 * (768 * 1000 + 1000)
    assert passt.time_positions.shape == (1, 768, 1, 99)


def test_positions_of_other_sizes_are_cut_or_interpolated() -> None:
    table = torch.arange(2 + 6, dtype=torch.float64)[None, :, None]
    assert adapt_positions(table, (2, 3), (2, 1)).flatten().tolist() == [0, 1, 3, 6]
    assert torch.equal(adapt_positions(table, (2, 3), (2, 3)), table)
    wide = adapt_positions(table, (2, 3), (2, 6)).flatten()
    assert wide[:2].tolist() == [0, 1]
    assert wide[2:8].min() == 2
    assert wide[2:8].max() == 4


def test_weights_of_other_sizes_are_adapted() -> None:
    small, large = AST(**SMALL), AST(**SMALL | {"frames": 64})
    state = large.adapted(dict(small.state_dict()), small)
    assert state["positions"].shape == large.positions.shape
    torch.testing.assert_close(state["positions"][:, :2], small.positions[:, :2])
    short, long = PaSST(**SMALL), PaSST(**SMALL | {"frames": 64})
    state = long.adapted(dict(short.state_dict()), short)
    long.load_state_dict(state)
    assert state["time_positions"].shape == long.time_positions.shape


def test_longer_spectrograms_are_cut_where_asked_for() -> None:
    net = stirred(PaSST(**SMALL, cut_long=True)).eval()
    x = spectrograms(64)
    torch.testing.assert_close(net(x), net(x[:, :40]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ast", "passt"])
def test_it_compiles_exports_and_runs_in_bfloat16(name: str) -> None:
    net = create_model(name, **SMALL | {"depth": 1}).eval()
    x = spectrograms().float()
    expected = net(x)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert (net(x).float() - expected).abs().max() < 0.1
    explained = torch._dynamo.explain(net)(x)
    assert explained.graph_break_count == 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (AST, {"heads": 3}, "heads is 3, but must divide dim = 16"),
        (AST, {"frames": 7}, "frames is 7, but a patch has 8"),
        (AST, {"stride": (6, 0)}, "stride is (6, 0), but must be one whole number >= 1, or two"),
        (AST, {"pooling": "max"}, "pooling is 'max', but must be one of"),
        (PaSST, {"patchout_time": 6}, "leave none of 3 x 6 patches"),
        (PaSST, {"patchout": 18}, "leave none of 3 x 6 patches"),
        (PaSST, {"representation_size": 4}, "representation_size is for networks with distilled"),
    ],
)
def test_bad_arguments(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        cls(**SMALL | options)
    assert message in str(error.value)


@pytest.mark.fault
def test_spectrograms_of_another_size() -> None:
    with pytest.raises(ValueError, match="39 frames, but the network was built for 40"):
        AST(**SMALL)(torch.randn(2, 39, 20))
    with pytest.raises(ValueError, match=r"\(2, 20, 40\), but must be \(batch, frames, 20\)"):
        AST(**SMALL)(torch.randn(2, 20, 40))
    with pytest.raises(ValueError, match="44 frames, but the network has positions for 43"):
        PaSST(**SMALL)(torch.randn(2, 44, 20))
    PaSST(**SMALL)(torch.randn(2, 43, 20))
    with pytest.raises(ValueError, match="leave none of 3 x 1 patches"):
        PaSST(**SMALL, patchout_time=1).train()(torch.randn(2, 8, 20))
