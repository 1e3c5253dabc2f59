"""`surform export`: a trained model as an ONNX or torch.export program."""

from __future__ import annotations

import argparse

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Write a model as a program that needs no surform: .onnx or .pt2. Statistics are inside, the "
    "batch may be of any size, and the written program is compared with the model. With --serving "
    "a ranker is folded first (tables and the tasks' queries go into the projections), may keep "
    "its tables in fewer bits, and may also be written as a folder that surform loads."
)
EXAMPLE = "surform export runs/digits digits.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL OUT."""
    parser.add_argument("model", help="a saved model, a run folder, a .ckpt, or hf://owner/repo")
    parser.add_argument("out", help="a .onnx or .pt2 file; with --serving also a folder")
    parser.add_argument("--serving", action="store_true", help="fold a ranker for serving")
    parser.add_argument(
        "--tables",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="with --serving: precision of the folded tables; int8 has a scale per row",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="with --serving: a table with labels, on which the lost AUC is measured; default: the "
        "test rows of a run's own data",
    )


def run(args: argparse.Namespace) -> int:
    """Write, compare, say how far apart they are."""
    if args.serving:
        from surform.cli.export_serving import run as run_serving

        return run_serving(args)
    if args.data or args.tables != "float32":
        raise ValueError("--tables and --data belong to --serving")
    from surform.cli.fit_progress import quiet
    from surform.cli.load import load_any
    from surform.hub.export import export

    quiet()
    difference = export(load_any(args.model), args.out)
    print(f"{args.out}: differs from the model by at most {difference:.1e}")
    return 0
