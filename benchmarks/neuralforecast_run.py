"""One training run and test pass of neuralforecast, in an environment of its own; prints JSON.

Imports nothing of surform: `benchmarks.forecasting` starts it with another Python.

    python neuralforecast_run.py '{"table": "values.csv", "model": "itransformer", ...}'
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch

warnings.filterwarnings("ignore")
for _name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def main(request):
    """Train on the rows before validation and test, forecast every test window, report."""
    torch.set_num_threads(1)
    import pytorch_lightning as lightning
    from neuralforecast import NeuralForecast

    class Clock(lightning.Callback):
        """Seconds between the first and the last batch of training and of prediction."""

        seconds = {}  # noqa: RUF012  of the class: neuralforecast trains a copy of the model

        def on_train_start(self, *_):
            self.began = time.perf_counter()

        def on_train_batch_end(self, *_):
            self.seconds["train"] = time.perf_counter() - self.began

        def on_predict_start(self, *_):
            self.began = time.perf_counter()

        def on_predict_batch_end(self, *_):
            self.seconds["test"] = time.perf_counter() - self.began

    clock = Clock()
    table = pd.read_csv(request["table"])
    times = pd.date_range("2016-07-01", periods=len(table), freq="h")
    names = list(table.columns)
    long = table.assign(ds=times).melt("ds", var_name="unique_id", value_name="y")
    model = build(request, len(names), clock)
    forecaster = NeuralForecast(models=[model], freq="h")
    found = forecaster.cross_validation(
        long,
        val_size=request["validation"],
        test_size=request["test"],
        n_windows=None,
        step_size=1,
    )
    error = (found["y"] - found[type(model).__name__]).to_numpy(np.float64)
    return {
        "train_seconds": clock.seconds["train"],
        "test_seconds": clock.seconds["test"],
        "steps": request["steps"],
        "windows": len(found) // len(names) // request["horizon"],
        "mse": float(np.mean(error**2)),
        "mae": float(np.mean(np.abs(error))),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def build(request, variates, clock):
    """The model with the published sizes; no validation during training."""
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import Informer, iTransformer

    shared = {
        "h": request["horizon"],
        "input_size": request["lookback"],
        "loss": MSE(),
        "valid_loss": MSE(),
        "learning_rate": request["lr"],
        "max_steps": request["steps"],
        "num_lr_decays": -1,
        "val_check_steps": 10**9,
        "batch_size": request["batch_size"],
        "windows_batch_size": request["batch_size"],
        "inference_windows_batch_size": 256,
        "scaler_type": "identity",
        "random_seed": request["seed"],
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "logger": False,
        "callbacks": [clock],
    }
    if request["model"] == "itransformer":
        return iTransformer(
            n_series=variates,
            hidden_size=256,
            d_ff=256,
            n_heads=8,
            e_layers=2,
            dropout=0.1,
            use_norm=True,
            **shared,
        )
    return Informer(
        hidden_size=512,
        conv_hidden_size=2048,
        n_head=8,
        encoder_layers=2,
        decoder_layers=1,
        factor=5,
        dropout=0.05,
        **shared,
    )


if __name__ == "__main__":
    answer = main(json.loads(sys.argv[1]))
    print("\n" + json.dumps(answer))
