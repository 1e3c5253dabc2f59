"""AutoInt and DCN (matrix) of deepctr-torch, in an environment of its own; prints JSON.

Imports nothing of surform: `benchmarks.movielens --peer` starts it with another Python.

    python deepctr_run.py '{"arrays": "rows.npz", "network": "dcnv2", "seed": 1, ...}'
"""

import json
import sys
import time

import numpy as np
import torch
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, AutoInt
from sklearn.metrics import log_loss, roc_auc_score


def columns(request, longest):
    """Single-valued features by the sizes of their vocabularies, and the list of genres."""
    width = request["dim"]
    single = [SparseFeat(f"c{n}", size, width) for n, size in enumerate(request["vocab"])]
    genres = SparseFeat("genres", request["genres"], width)
    return [*single, VarLenSparseFeat(genres, longest, "mean")]


def network(request, features):
    """The settings of FuxiCTR's published comparisons."""
    shared = {
        "dnn_hidden_units": (400, 400),
        "dnn_dropout": 0.2,
        "l2_reg_embedding": request["decay"] / 2,
        "init_std": 1e-2,
        "seed": request["seed"],
    }
    if request["network"] == "autoint":
        return AutoInt(features, features, att_layer_num=2, att_head_num=2, **shared)
    return DCN(features, features, cross_num=3, cross_parameterization="matrix", **shared)


def main(request):
    """Train until validation AUC falls twice; figures of the test rows at its best epoch."""
    torch.set_num_threads(1)
    rows = np.load(request["arrays"])
    inputs = {
        split: {
            **{f"c{n}": rows[f"{split}/single"][:, n] for n in range(len(request["vocab"]))},
            "genres": rows[f"{split}/genres"],
        }
        for split in ("train", "validation", "test")
    }
    model = network(request, columns(request, rows["train/genres"].shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.compile(optimizer, "binary_crossentropy")
    best, falls, seconds, epochs = {"validation": 0.0}, 0, 0.0, 0
    while falls < 2 and epochs < 15:
        begun = time.process_time()
        model.fit(inputs["train"], rows["train/label"], batch_size=1024, epochs=1, verbose=0)
        seconds += time.process_time() - begun
        epochs += 1
        scores = {s: model.predict(inputs[s], 4096)[:, 0] for s in ("validation", "test")}
        found = roc_auc_score(rows["validation/label"], scores["validation"])
        falls = 0 if found > best["validation"] else falls + 1
        if not falls:
            test = rows["test/label"]
            best = {
                "validation": float(found),
                "auc": float(roc_auc_score(test, scores["test"])),
                "log_loss": float(log_loss(test, scores["test"].astype(float))),
            }
    count = sum(weight.numel() for weight in model.parameters())
    print(json.dumps(best | {"parameters": count, "seconds": seconds, "epochs": epochs}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
