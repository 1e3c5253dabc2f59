"""`surform export --serving`: a ranker folded, its tables narrow, and what that costs in AUC."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["run"]

_TOLERANCE = 1e-5  # of the largest logit, for tables that are not rounded
_PROBED = 256  # rows on which the folded model is compared


def run(args: argparse.Namespace) -> int:
    """Fold, measure, write a folder or a program, say what it costs."""
    from surform.cli.fit_progress import quiet
    from surform.cli.load import load_any
    from surform.hub.export import export
    from surform.recommenders.ranker import Ranker
    from surform.recommenders.serving import compare, table_bytes

    quiet()
    program = Path(args.out).suffix in (".onnx", ".pt2")
    model = load_any(args.model)
    if not isinstance(model, Ranker):
        raise ValueError(f"--serving folds rankers: {args.model} is a {type(model).__name__}")
    served = model.folded(args.tables).eval()
    _require_same(model, served, rounded=args.tables != "float32")
    batches, where = _rows(args, model)
    figures = [] if batches is None else compare(model, served, batches, where)
    _note(served, figures, where, args.tables)
    if program:
        difference = export(served, args.out)
        print(f"{args.out}: differs from the folded model by at most {difference:.1e}")
    else:
        served.save_pretrained(args.out)
        print(f"{args.out}: folded, loads with surform.load_model")
    before, after = (f"{table_bytes(each) / 1e6:.3g} MB" for each in (model, served))
    print(f"tables: {after} in {args.tables}, folded; {before} before")
    for each in figures:
        print(f"{each} of {where}")
    return 0


def _require_same(model: Any, served: Any, rounded: bool) -> None:
    """ValueError where folding alone changes what the network says."""
    import torch

    if rounded:
        return
    with torch.inference_mode():
        given = model.example_batch(_PROBED)
        expected, found = model(**given), served(**given)
    difference = (found - expected).abs().max().item()
    if not difference <= _TOLERANCE * max(expected.abs().max().item(), 1.0):
        raise ValueError(
            f"the folded model would differ by {difference:.1e}: it is not written; keep the "
            "network in float32 or more"
        )


def _rows(args: argparse.Namespace, model: Any) -> tuple[Any, str]:
    """Labelled rows to measure on, if there are any, and what they are from."""
    from surform.recommenders.serving import file_batches, split_batches

    about = model.description
    if about is None:
        if args.tables == "float32" and not args.data:
            return None, ""
        raise ValueError(f"{args.model} does not know the columns and categories of its table")
    if args.data:
        return file_batches(about, args.data), args.data
    if (Path(args.model) / "config.yaml").is_file():
        from surform.cli.run_data import data_of

        return split_batches(data_of(args.model), about), f"the test rows of {args.model}"
    if args.tables != "float32":
        raise ValueError(
            f"tables in {args.tables} change what the model says: give --data FILE, a table with "
            "labels, on which the lost AUC is measured"
        )
    return None, ""


def _note(served: Any, figures: list[Any], where: str, tables: str) -> None:
    """Let the card and the stored figures be those of the served model."""
    if tables != "float32":
        served.metrics, served.protocols = {}, {}
    if not figures:
        return
    lines = [f"Measured on {where}, beside the model that it was made from:"]
    lines += [f"- {each}" for each in figures]
    served.card["summary"] += "\n\n" + "\n".join(lines)
    for each in figures:
        served.metrics |= {
            f"auc/{each.label}": each.served_auc,
            f"auc_lost/{each.label}": each.lost,
        }
