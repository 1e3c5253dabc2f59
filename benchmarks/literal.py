"""Models whose literal path no other benchmark measures: ours beside it, in turns.

The literal paths are those of the tests (`tests/*/literal_*.py`, same weights): every map where the
formula has it, every score written out. Where only the attention has a literal form (the kernel
"reference"), the network is the same but for it. A training step is forward, mean square of the
output and backward; nothing is dropped, so that both do the same. Times are CPU times of one
thread, medians over the turns; `largest_difference` is between both outputs, relative to the
largest number.

    python -m benchmarks.literal
    python -m benchmarks.literal --only pyformer cvt   # rows of others stay as they were
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.informer import model_runs
from benchmarks.side_by_side import run
from surform import attention
from surform.bench.measure import alternating
from surform.hub.official import dit_policy, hpt
from surform.registry import create_model
from surform.vision.published import published
from tests.audio.literal_audio import literal_soft_moa
from tests.hyperspectral.literal_pyformer import literal_forward as literal_pyformer
from tests.operators.literal_factformer import literal_steady
from tests.operators.literal_factformer3d import literal_volume
from tests.robotics.literal_dit_policy import literal_noise
from tests.robotics.literal_hpt import literal_features, literal_mlp_head
from tests.vision.literal_cct import literal_forward as literal_cct

__all__ = ["CASES", "main", "row"]

Runs = dict[str, Callable[[], Any]]
State = dict[str, Tensor]


def _runs(
    net: nn.Module,
    ours: Callable[[], Tensor],
    literal: Callable[[], Tensor],
    weights: Iterable[Tensor] | None = None,
) -> Runs:
    """`weights`: those that the literal path reads, where they are not those of `net`."""
    net.eval()
    own = [p for p in net.parameters() if p.requires_grad]
    theirs = own if weights is None else list(weights)

    def trains(path: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], None]:
        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            path().square().mean().backward()

        return run

    return {
        "forward": torch.no_grad()(ours),
        "literal forward": torch.no_grad()(literal),
        "training": trains(ours, own),
        "literal training": trains(literal, theirs),
    }


def _written_out(net: nn.Module, ours: Callable[[], Tensor]) -> Runs:
    """The literal path is the same network with the attention's literal kernel."""

    def literal() -> Tensor:
        with attention.use("reference"):
            return ours()

    return _runs(net, ours, literal)


def _trainable(state: State) -> State:
    """Weights under official names as leaves of their own."""
    copies = {key: value.detach().clone() for key, value in state.items()}
    for key, value in copies.items():
        value.requires_grad_(value.is_floating_point() and not key.startswith("normalizer"))
    return copies


def _factformer_steady() -> Runs:
    net = create_model("factformer2d_steady")
    u, x = torch.randn(1, 71, 71, 1), (torch.linspace(0, 1, 71),) * 2
    return _runs(net, lambda: net(u, x), lambda: literal_steady(net, u, x))  # type: ignore[arg-type]


def _factformer_volume() -> Runs:
    net = create_model("factformer3d")
    u, x = torch.randn(1, 4, 16, 16, 16, 4), (torch.linspace(0, 1, 16),) * 3
    return _runs(net, lambda: net(u, x), lambda: literal_volume(net, u, x))  # type: ignore[arg-type]


def _informer_stack() -> Runs:
    found = model_runs(8, 96, 24, "prob", [3, 2, 1])
    return {name.replace("forward+backward", "training"): run for name, run in found.items()}


def _cvt() -> Runs:
    net, x = published("cvt_7_4_32"), torch.randn(16, 3, 32, 32)
    return _runs(net, lambda: net(x), lambda: literal_cct(net, x))


def _hpt() -> Runs:
    sizes = {"action_dim": 7, "chunk": 8, "features": {"image": 512, "state": 7}}
    net: Any = create_model("hpt", **sizes)
    seen = {"image": torch.randn(2, 4, 1, 49, 512), "state": torch.randn(2, 4, 7)}
    given = dict(net.named_parameters()) | dict(net.named_buffers())
    state = _trainable(hpt.SYSTEM.to_official(given, {"domain": "dom"}))

    def literal() -> Tensor:
        features = literal_features(state, seen, 8, 8).mean(1)
        return literal_mlp_head(state, features, True, True, True).unflatten(1, (8, 7))

    return _runs(net, lambda: net(seen), literal, state.values())


def _dit_noise_net() -> Runs:
    net = create_model("dit_noise_net", action_dim=14, chunk=100)
    for parameter in net.parameters():  # a fresh network says nothing
        nn.init.normal_(parameter, std=0.02)
    state = _trainable(dit_policy.SYSTEM.to_official(net.state_dict(), {}))
    given = (torch.randn(1, 100, 14), torch.tensor([60]), torch.randn(1, 99, 512))
    return _runs(net, lambda: net(*given), lambda: literal_noise(state, *given, 8), state.values())


def _soft_moa() -> Runs:
    net: Any = create_model("adapted", base="ast", options={"depth": 1})
    for parameter in net.adapters.parameters():  # new adapters change nothing
        nn.init.normal_(parameter, std=0.02)
    x = torch.randn(1, 1024, 128)
    return _runs(net, lambda: net(x), lambda: literal_soft_moa(net, x))


def _pyformer() -> Runs:
    net = create_model("pyformer", window=8, in_channels=15, num_classes=15)
    x = torch.randn(8, 15, 8, 8)
    return _runs(net, lambda: net(x), lambda: literal_pyformer(net, x))


def _autoint() -> Runs:
    vocab = (12, 2000, 24, 4, 20, 300)
    net = create_model("autoint", vocab_sizes=vocab, dense_features=2, dense_tokens=1)
    ids = torch.stack([torch.randint(count, (1024,)) for count in vocab], 1)
    numbers = torch.randn(1024, 2)
    return _written_out(net, lambda: net(ids, numbers))


def _fastformer() -> Runs:
    net, x = create_model("fastformer"), torch.randn(4, 512, 256)
    return _written_out(net, lambda: net(x))


def _sequence_encoder() -> Runs:
    net = create_model(
        "sequence_encoder", vocab_size=17, length=1024, num_classes=10, dim=128, depth=2, heads=4
    )
    tokens = torch.randint(1, 17, (1, 1024))
    return _written_out(net, lambda: net(tokens))


# model -> (what is measured, the four runs)
CASES: dict[str, tuple[str, Callable[[], Runs]]] = {
    "factformer2d_steady": ("71 x 71 points, batch 1", _factformer_steady),
    "factformer3d": ("16 x 16 x 16 points, 4 frames, batch 1", _factformer_volume),
    "informer_stack": ("encoders of 3, 2 and 1 layers, B8 L96 H24", _informer_stack),
    "cvt": ("cvt_7_4_32, batch 16", _cvt),
    "hpt": ("trunk of 16 blocks of 128, an image and a state, batch 2", _hpt),
    "dit_noise_net": ("chunks of 100 actions, 99 tokens, batch 1", _dit_noise_net),
    "adapted": ("Soft-MoA in one of AST's 12 blocks, batch 1", _soft_moa),
    "pyformer": ("windows of 8 x 8 x 15, batch 8", _pyformer),
    "autoint": ("7 features, batch 1024; attention alone", _autoint),
    "fastformer": ("512 tokens of 256, batch 4; attention alone", _fastformer),
    "sequence_encoder": ("1024 tokens of 128, batch 1; attention alone", _sequence_encoder),
}


def row(model: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of ours and the literal path, gains, and how far apart both are."""
    torch.manual_seed(0)
    size, make = CASES[model]
    runs = make()
    ours, literal = runs["forward"](), runs["literal forward"]()
    apart = float((ours - literal).abs().max() / literal.abs().max())
    seconds = alternating(runs, repeats, clock=time.process_time)
    found: dict[str, Any] = {"model": model, "size": size}
    for kind in ("forward", "training"):
        found[f"{kind}_ms"] = round(1e3 * seconds[kind], 1)
        found[f"literal_{kind}_ms"] = round(1e3 * seconds[f"literal {kind}"], 1)
        found[f"{kind}_gain"] = round(seconds[f"literal {kind}"] / seconds[kind], 2)
    return found | {"largest_difference": float(f"{apart:.1e}")}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/literal.json."""
    run("beside the literal formulas", list(CASES), row, "literal", arguments)


if __name__ == "__main__":
    main()
