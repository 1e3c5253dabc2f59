"""CCT-2/3x2 against vit-pytorch's plain ViT of equal size on a few thousand images: test accuracy.

The same images, batches, augmentation, optimizer, schedule and epochs for both; the plain ViT has
patches of 4 x 4 pixels, a class token, and the depth and width of the CCT.

    python -m benchmarks.cct_images --path cifar10_small.npz --epochs 30
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.optim import AdamW

from benchmarks import RESULTS
from surform.bench.measure import save
from surform.cli.fit_progress import quiet
from surform.data.images_module import ImagesData
from surform.training.cross_entropy import CrossEntropy
from surform.training.schedules import Cosine
from surform.vision.published import published
from surform.vision.task import ClassificationTask

__all__ = ["main"]


def plain_vit(side: int, classes: int) -> nn.Module:
    """vit-pytorch's ViT with about as many parameters as CCT-2/3x2."""
    from vit_pytorch import ViT

    net = ViT(
        image_size=side, patch_size=4, num_classes=classes, dim=128, depth=2, heads=2,
        mlp_dim=256, dropout=0.0, emb_dropout=0.0, dim_head=64,
    )  # fmt: skip
    vars(net)["arguments"] = {"num_classes": classes}
    return net


def run(name: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train one network with one seed; its accuracy on all test images."""
    seed_everything(seed)
    data = ImagesData(
        options.path,
        batch_size=32,
        eval_batch_size=250,
        crop_scale=[0.8, 1.0],
        flip=0.5,
        split={"train": 1.0},
        seed=seed,
        workers=options.workers,
    )
    about = data.description()
    side, classes = about.image_size[0], len(about.classes)
    made = published("cct_2_3x2_32", image_size=side, num_classes=classes)
    net = made if name == "cct_2_3x2" else plain_vit(side, classes)
    task = ClassificationTask(
        net,
        loss=CrossEntropy(0.1),
        optimizer=lambda params: AdamW(params, lr=1e-3, weight_decay=5e-2),
        schedule=Cosine(0.1),
    )
    trainer = Trainer(
        max_epochs=options.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    start = time.process_time()
    trainer.fit(task, data)
    seconds = time.process_time() - start
    figures = trainer.test(task, data, verbose=False)[0]
    return {
        "model": name,
        "parameters": sum(p.numel() for p in net.parameters()),
        "seed": seed,
        "epochs": options.epochs,
        "test_top1": figures["test/top1/clean"],
        "cpu_seconds": round(seconds),
    }


def main(arguments: list[str] | None = None) -> None:
    """Train both, print one table, write results/cct-images.json."""
    parser = argparse.ArgumentParser(description="CCT and a plain ViT on few images")
    parser.add_argument("--path", required=True, help="images with a test split, such as a .npz")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args(arguments)
    quiet()
    rows = [run(n, options, s) for s in options.seeds for n in ("cct_2_3x2", "plain ViT")]
    table = Table(title=f"test accuracy after {options.epochs} epochs")
    for column in rows[0]:
        table.add_column(column.replace("_", " "))
    for one in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in one.values()))
    Console(width=120).print(table)
    save(RESULTS / "cct-images.json", rows)


if __name__ == "__main__":
    main()
