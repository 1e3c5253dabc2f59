"""Networks of the transformers library beside ours: AST, ViTPose+ and the Informer.

AST and ViTPose+ have the same weights, which we write in the library's own format; how far apart
the answers are is in the row. The library's Informer is another network at the same sizes: it
embeds lagged values instead of convolving, and draws one sample of keys for all queries, so that
its attention does less. Its decoder gets as many tokens as ours. A training step is forward, mean
square of the output, backward and AdamW; nothing is dropped, and it is left out for ViTPose+, which
the library does not train. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.transformers_peers
    python -m benchmarks.transformers_peers --only informer   # rows of others stay as they were
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.side_by_side import run
from surform.audio.classifier import AudioClassifier
from surform.bench.measure import alternating
from surform.hub.hugging_face import save_hugging_face
from surform.hub.pretrained import Pretrained
from surform.registry import create_model
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.vitpose import SIZES

__all__ = ["CASES", "main", "row"]

Run = Callable[[], Tensor]
# ours, the library's, their paths, whether both have the same weights, whether both can be trained
Pair = tuple[nn.Module, nn.Module, Run, Run, bool, bool]
DEPTH = 1  # of AST's 12 blocks, which cost alike


def _ast() -> Pair:
    from transformers import ASTForAudioClassification

    net: Any = create_model("ast", depth=DEPTH, head_eps=1e-6)  # the library has one eps for all
    theirs = _written(AudioClassifier(net), ASTForAudioClassification)
    x = torch.randn(1, 1024, 128)
    return net, theirs, lambda: net(x), lambda: theirs(x).logits, True, True


def _vitpose_plus() -> Pair:
    from transformers import VitPoseForPoseEstimation

    net: Any = create_model("vitpose_plus", part_features=192, joints=(17,), **SIZES["s"])
    theirs = _written(PoseEstimator(net), VitPoseForPoseEstimation)
    images, sets = torch.randn(6, 3, 256, 192), torch.arange(6)
    return (
        net, theirs, lambda: net(images, sets),
        lambda: theirs(images, dataset_index=sets).heatmaps, True, False,
    )  # fmt: skip


def _written(model: Pretrained, kind: Any) -> Any:
    """The library's network with our weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        return kind.from_pretrained(save_hugging_face(model, Path(folder) / "model"))


def _informer() -> Pair:
    from transformers import InformerConfig, InformerModel

    lookback, known, horizon, variates = 96, 48, 24, 7
    net: Any = create_model(
        "informer", lookback=lookback, horizon=horizon, label_length=known, variates=variates,
        dim=512, depth=2, decoder_depth=1, heads=8, mlp_ratio=4.0, dropout=0.0, factor=5, marks=4,
    )  # fmt: skip
    nothing = dict.fromkeys(
        ("dropout", "encoder_layerdrop", "decoder_layerdrop", "attention_dropout",
         "activation_dropout"), 0.0
    )  # fmt: skip
    model = InformerModel(
        InformerConfig(
            context_length=lookback, prediction_length=known + horizon, input_size=variates,
            lags_sequence=[1], scaling="std", num_time_features=4, d_model=512,
            encoder_ffn_dim=2048, decoder_ffn_dim=2048, encoder_attention_heads=8,
            decoder_attention_heads=8, encoder_layers=2, decoder_layers=1, attention_type="prob",
            sampling_factor=5, distil=True, use_cache=False, **nothing,
        )
    )  # fmt: skip
    theirs = nn.ModuleDict({"model": model, "head": nn.Linear(512, variates)})
    batch, steps = 8, known + horizon
    history, marks = torch.randn(batch, lookback + 1, variates), torch.rand(batch, lookback + 1, 4)
    seen = torch.ones_like(history)
    start, start_marks = torch.randn(batch, steps, variates), torch.rand(batch, steps, 4)

    def library() -> Tensor:
        found = model(
            past_values=history, past_time_features=marks, past_observed_mask=seen,
            future_values=start, future_time_features=start_marks,
        )  # fmt: skip
        return theirs["head"](found.last_hidden_state)[:, -horizon:]

    def ours() -> Tensor:
        return net.forward_from(history[:, 1:], marks[:, 1:], start, start_marks)

    return net, theirs, ours, library, False, True


CASES: dict[str, tuple[str, Callable[[], Pair]]] = {
    "ast": (f"{DEPTH} of 12 blocks, batch 1", _ast),
    "vitpose_plus": ("S, 6 crops of 6 data sets", _vitpose_plus),
    "informer": ("dim 512, B8 L96 H24, other weights", _informer),
}


def row(model: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of ours and of the library's, and how much faster ours is."""
    torch.manual_seed(0)
    size, make = CASES[model]
    net, theirs, ours, library, same, trains = make()
    found: dict[str, Any] = {"model": model, "size": size}
    found["parameters"] = sum(p.numel() for p in net.parameters())
    found["their_parameters"] = sum(p.numel() for p in theirs.parameters())
    runs: dict[str, Callable[[], object]] = {
        "forward": torch.no_grad()(ours),
        "their forward": torch.no_grad()(library),
    }
    net.eval()
    theirs.eval()
    if same:
        a, b = torch.no_grad()(ours)(), torch.no_grad()(library)()
        found["largest_difference"] = float(f"{float((a - b).abs().max() / b.abs().max()):.1e}")
    if trains:
        runs |= {"training": _training(net, ours), "their training": _training(theirs, library)}
    seconds = alternating(runs, repeats, clock=time.process_time)
    for kind in ("forward", "training") if trains else ("forward",):
        found[f"{kind}_ms"] = round(1e3 * seconds[kind], 1)
        found[f"their_{kind}_ms"] = round(1e3 * seconds[f"their {kind}"], 1)
        found[f"{kind}_gain"] = round(seconds[f"their {kind}"] / seconds[kind], 2)
    return found


def _training(net: nn.Module, path: Run) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)

    def run() -> None:
        optimizer.zero_grad()
        path().square().mean().backward()
        optimizer.step()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/transformers.json."""
    run("beside the transformers library", list(CASES), row, "transformers", arguments)


if __name__ == "__main__":
    main()
