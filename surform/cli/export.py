"""`surform export`: a trained model as an ONNX or torch.export program."""

from __future__ import annotations

import argparse

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Write a model as a program that needs no surform: .onnx or .pt2. Statistics are inside, the "
    "batch may be of any size, and the written program is compared with the model."
)
EXAMPLE = "surform export runs/digits digits.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL OUT."""
    parser.add_argument("model", help="a saved model, a run folder, a .ckpt, or hf://owner/repo")
    parser.add_argument("out", help="a .onnx or .pt2 file")


def run(args: argparse.Namespace) -> int:
    """Write, compare, say how far apart they are."""
    from surform.cli.fit_progress import quiet
    from surform.cli.load import load_any
    from surform.hub.export import export

    quiet()
    difference = export(load_any(args.model), args.out)
    print(f"{args.out}: differs from the model by at most {difference:.1e}")
    return 0
