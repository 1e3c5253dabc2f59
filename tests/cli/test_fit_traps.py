"""LightningCLI's traps, each met once: nothing is decided silently, nothing dies unexplained."""

from __future__ import annotations

import inspect
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
import zarr
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback

from surform.cli.fit_config import read_config
from surform.cli.fit_devices import cluster
from surform.cli.fit_progress import quiet
from surform.cli.lightning_cli import SurformCLI, resolve
from surform.registry import find, names
from surform.training.checkpoint import load_surrogate, read_checkpoint
from tests.cli.fit_runs import Run, refused
from tests.training.toy import Smooth

# Classes that are not registered: the user vouches for them, a checkpoint cannot.
OURS = ("--model.net", "tests.training.toy.Smooth", "--data", "tests.training.toy.ToyData")


@pytest.mark.fault
def test_1_a_checkpoint_and_the_command_line_that_differ_are_refused(
    run: Run, trained: Path
) -> None:
    result = run("fit", "--ckpt_path", "last", "--out", "r", *OURS, "--model.optimizer.lr", "0.5")
    refused(result, "model.optimizer.lr is 0.01 in the checkpoint but 0.5 on the command line")
    assert "--override" in result[2]
    result = run("fit", "--ckpt_path", "last", "--out", "r", *OURS, "--model.net.dim", "4")
    refused(result, "model.net.dim is 6 in the checkpoint but 4")


def test_1_override_lets_the_command_line_win(run: Run, trained: Path) -> None:
    words = ("--model.optimizer.lr", "0.5", "--trainer.max_epochs", "3", "--override")
    code, _, error = run("fit", "--ckpt_path", "last", "--out", "r", "--no_report", *OURS, *words)
    assert code == 0, error
    stored = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert stored["global_step"] == 15
    group = stored["optimizer_states"][0]["param_groups"][0]
    assert group["max_lr"] == pytest.approx(0.5)
    assert group["initial_lr"] == pytest.approx(0.5 / 1e4)  # where its cycle starts


@pytest.mark.fault
def test_1_override_does_not_load_weights_into_another_network(run: Run, trained: Path) -> None:
    before = (trained / "checkpoints" / "last.ckpt").read_bytes()
    words = ("--out", "r", *OURS, "--model.net.dim", "16", "--override")
    refused(run("fit", "--ckpt_path", "last", *words), "net.body.0.weight is (6, 1) there and (16,")
    assert (trained / "checkpoints" / "last.ckpt").read_bytes() == before


def test_1_options_that_a_checkpoint_does_not_know_are_new_defaults(
    run: Run, trained: Path
) -> None:
    path = trained / "checkpoints" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    del stored["surform_config"]["config"]["model"]["init_args"]["ema_decay"]
    torch.save(stored, path)
    words = ("--ckpt_path", "last", "--out", "r", "--no_report", *OURS)
    code, _, error = run("fit", *words)
    assert code == 0, error
    torch.save(stored, path)
    refused(run("fit", *words, "--model.ema_decay", "0.5"), "model.ema_decay is None in the")


def test_1_lightnings_own_merging_is_off(run: Run, trained: Path) -> None:
    from lightning.pytorch.cli import LightningCLI

    assert hasattr(LightningCLI, "_parse_ckpt_path")  # the hook that we switch off still exists
    path = trained / "checkpoints" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    # what Lightning would take over from a checkpoint, in place of what is asked for
    stored["hyper_parameters"] = {"monitor": "loss", "_class_path": "fields"}
    torch.save(stored, path)
    code, shown, error = run("fit", "--ckpt_path", str(path), *OURS, "--print_config")
    assert code == 0, error
    assert yaml.safe_load(shown)["model"]["init_args"]["monitor"] == "relative_l2"


def test_1_the_checkpoints_configuration_is_the_default(run: Run, trained: Path) -> None:
    code, shown, _ = run("fit", "--ckpt_path", "last", "--out", "r", *OURS, "--print_config")
    assert code == 0
    assert yaml.safe_load(shown)["model"]["init_args"]["net"]["init_args"]["dim"] == 6


@pytest.mark.fault
def test_2_a_checkpoint_cannot_have_a_class_imported(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_net.py").write_text("open('executed', 'w').close()\nclass Net: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = trained / "checkpoints" / "last.ckpt"
    for evil in ("evil_net.Net", {"class_path": "evil_net.Net"}):
        stored = torch.load(path, weights_only=True)
        stored["surform_config"]["config"]["model"]["init_args"]["net"] = evil
        torch.save(stored, path)
        for command in ("fit", "test", "predict"):
            refused(
                run(command, "--ckpt_path", str(path), "--data", "tests.training.toy.ToyData"),
                "the class evil_net.Net, which is not registered and is not imported",
            )
    assert not Path("executed").exists()


def test_2_and_3_the_checkpoint_rebuilds_its_model_without_pickled_objects(trained: Path) -> None:
    stored = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert "hyper_parameters" not in stored
    surrogate = load_surrogate(trained / "checkpoints" / "best.ckpt", net=Smooth(dim=6))
    assert surrogate.net.arguments["dim"] == 6


def test_4_the_saved_configuration_alone_rebuilds_the_model(run: Run, trained: Path) -> None:
    saved = yaml.safe_load((trained / "config.yaml").read_text())
    assert saved["model"]["init_args"]["net"]["init_args"] == {
        "in_channels": 1,
        "out_channels": 1,
        "dim": 6,
        "dropout": 0.0,
    }
    code, shown, _ = run("fit", "-c", "r/config.yaml", "--print_config")
    assert code == 0
    assert yaml.safe_load(shown) == saved


def test_4_open_options_of_the_network_follow_the_data(run: Run) -> None:
    words = ("--model.net.in_channels", "null", "--print_config")
    code, shown, error = run("fit", "-c", "toy.yaml", *words)
    assert code == 0, error
    net = yaml.safe_load(shown)["model"]["init_args"]["net"]["init_args"]
    assert net == {"in_channels": 1, "out_channels": 1, "dim": 6, "dropout": 0.0}


@pytest.mark.fault
def test_4_only_what_the_data_give_may_be_left_open(run: Run) -> None:
    result = run("fit", "-c", "toy.yaml", "--model.net.dim", "null")
    refused(result, "model.net.dim is null, and the data do not give it (they give in_channels,")
    assert not Path("runs").exists()


@pytest.mark.fault
def test_4_channels_that_contradict_the_data_are_refused(run: Run) -> None:
    result = run("fit", "-c", "toy.yaml", "--model.net.in_channels", "3", "--no_report")
    refused(result, "in_channels=3, the data give 1 (u)")
    assert not list(Path().glob("**/*.ckpt"))


def test_5_recipes_use_classes_only() -> None:
    for kind in ("models", "tasks", "data", "losses"):
        assert all(inspect.isclass(find(kind, name)) for name in names(kind))


def test_6_switching_the_class_forgets_the_old_options(run: Run) -> None:
    code, shown, error = run(
        "fit", "-c", "toy.yaml", "--model.net", "factformer2d_steady", "--print_config"
    )
    assert code == 0, error
    assert yaml.safe_load(shown)["model"]["init_args"]["net"]["init_args"]["dim"] == 128


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trainer.max_epoch", "3"), "trainer has no option 'max_epoch': did you mean max_ep"),
        (("--model.net.dimm", "3"), "model.net has no option 'dimm': did you mean dim"),
        (("--data.batchsize", "3"), "data has no option 'batchsize': did you mean batch_size"),
        (("--model.optimizer.rl", "3"), "model.optimizer has no option 'rl': did you mean lr"),
        (("--ckpt", "last"), "unknown option --ckpt"),
        (("--seed", "1"), "unknown option --seed: did you mean --seed_everything"),
    ],
)
def test_7_misspelt_options_are_refused_with_the_closest(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    refused(run("fit", "-c", "toy.yaml", *words), message)
    assert not Path("runs").exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--model.net", "factformer2d_steady", "--model.net.dim_head", "8"),
            "model.net has no option 'dim_head': it is called head_dim now",
        ),
        (
            ("--model.net", "quantiles", "--model.net.base", "dlinear")
            + ("--model.net.options", "{kernel: 5}"),
            "model.net has no option 'options.kernel': it is called kernel_size now",
        ),
        (
            ("--model.net", "hpt_embodiments")
            + ("--model.net.embodiments", "{arm: {chunk: 4}, disc: {action_horizon: 4}}"),
            "model.net has no option 'embodiments.disc.action_horizon': it is called chunk now",
        ),
    ],
)
def test_7_former_names_of_options_are_told_the_present_one(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    refused(run("fit", "-c", "toy.yaml", *words), message)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model.net.dim", "hello"), "model.net.dim must be int, got 'hello'"),
        (("--trainer.max_epochs", "x"), "trainer.max_epochs must be int, got 'x'"),
        (("--model.loss_on", "phsical"), "model.loss_on is 'phsical': did you mean physical"),
        (("--model.optimizer.lr", "fast"), "model.optimizer.lr must be float"),
        (("--model.schedule.pct_start", "x"), "model.schedule.pct_start must be float, got 'x'"),
        (("--model.schedule", "TwoCycle"), "has no class 'TwoCycle': did you mean OneCycle"),
        (("--model.net", "no.such.Net"), "there is no module 'no'"),
        (("--model.schedule.pct_start", "7"), "pct_start must lie between 0 and 1"),
    ],
)
def test_8_errors_are_one_sentence(run: Run, words: tuple[str, ...], message: str) -> None:
    refused(run("fit", "-c", "toy.yaml", *words, "--out", "never"), message)
    assert not Path("never").exists()


@pytest.mark.fault
def test_8_a_file_of_this_folder_is_not_imported_but_it_is_said_how(run: Run) -> None:
    Path("mine_alone.py").write_text("class Net: ...\n")
    message = "there is no module 'mine_alone' (for mine_alone.Net); python -m surform in place of"
    refused(run("fit", "-c", "toy.yaml", "--model.net", "mine_alone.Net"), message)


@pytest.mark.fault
def test_8_what_a_file_fails_to_import_is_not_taken_for_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine_two.py").write_text("import mine\n")
    monkeypatch.syspath_prepend(".")
    refused(run("fit", "-c", "toy.yaml", "--model.net", "mine_two.Net"), "No module named 'mine'")


@pytest.mark.fault
def test_8_a_run_is_written_into_neither_data_nor_a_file(run: Run) -> None:
    refused(run("fit", "-c", "toy.yaml", "--out", "toy.yaml"), "toy.yaml is a file")
    zarr.open_group("flow.zarr", mode="w")
    refused(run("fit", "-c", "toy.yaml", "--out", "flow.zarr"), "flow.zarr holds data, not a run")
    assert [path.name for path in Path("flow.zarr").iterdir()] == ["zarr.json"]


@pytest.mark.fault
def test_8_missing_parts_are_named(run: Run) -> None:
    refused(run("fit"), "there is no model: give a recipe with --config")
    refused(run("fit", "--model", "fields", "--data", "fields"), "model (FieldTask) needs the opt")
    assert not Path("runs").exists()


def test_9_every_option_of_every_registered_class_has_a_type() -> None:
    for kind in ("models", "tasks", "data", "losses"):
        for name in names(kind):
            parameters = inspect.signature(find(kind, name)).parameters.values()
            untyped = [p.name for p in parameters if p.annotation is inspect.Parameter.empty]
            assert not untyped, (name, untyped)


def test_10_callbacks_are_appended_and_ours_stay(run: Run) -> None:
    words = ("--trainer.callbacks+=LearningRateMonitor", "--no_report", "--out", "cb")
    code, _, error = run("fit", "-c", "toy.yaml", *words)
    assert code == 0, error
    assert "lr-Adam" in Path("cb/metrics.csv").read_text()
    assert Path("cb/checkpoints/best.ckpt").is_file()


@pytest.mark.fault
def test_11_unknown_top_level_keys_are_refused(run: Run) -> None:
    Path("extra.yaml").write_text("anchors: {a: 1}\n")
    refused(run("fit", "-c", "toy.yaml", "-c", "extra.yaml"), "unknown key 'anchors'")
    assert not Path("runs").exists()


def test_12_registered_names_need_no_import() -> None:
    for kind, option in (("models", "model.net"), ("losses", "model.loss")):
        name = next(iter(names(kind)))
        config: dict[str, Any] = {"model": {"class_path": "surform.operators.task.FieldTask"}}
        config["model"]["init_args"] = {"net": {"class_path": "tests.training.toy.Smooth"}}
        config["data"] = {"class_path": "tests.training.toy.ToyData"}
        found = resolve(config, [f"--{option}", name])
        node = found["model"]["init_args"][option.partition(".")[2]]
        assert node["class_path"] == names(kind)[name].replace(":", ".")


def test_13_a_run_prints_only_our_lines(run: Run) -> None:
    code, out, error = run("fit", "-c", "toy.yaml", "--no_report", "--out", "q")
    assert code == 0
    assert out == "run folder: q\n"
    lines = error.splitlines()
    assert [line[:7] for line in lines] == ["memory:", "epoch 1", "epoch 2"], error


def test_14_evaluation_needs_weights_and_prints_labelled_figures(run: Run, trained: Path) -> None:
    refused(run("test", "-c", "toy.yaml"), "surform test: weights are needed: surform test RUN, or")
    code, out, error = run("test", "--ckpt_path", "r", "-c", "toy.yaml")
    assert code == 0, error
    assert run("test", "r", "-c", "toy.yaml")[:2] == (0, out)  # the run alone says the same
    rows = [line.split() for line in out.splitlines()]
    assert {row[0] for row in rows} >= {"test/relative_l2", "test/rmse"}
    assert {row[-1] for row in rows} == {"clean"}
    figures = json.loads((trained / "test.json").read_text())
    assert figures["checkpoint"] == "r/checkpoints/best.ckpt"  # of a run the best one


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ("--trainer.accelerator", "gpu"),
            "the trainer cannot start with trainer.accelerator=gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (("--trainer.devices", "0"), "the trainer cannot start with trainer.accelerator=cpu, tra"),
    ],
)
def test_18_a_machine_without_the_device_is_told_in_one_sentence(
    run: Run, words: tuple[str, str], message: str
) -> None:
    refused(run("fit", "-c", "toy.yaml", *words, "--out", "never"), message)
    assert not Path("never").exists()


@pytest.mark.fault
def test_18_a_strategy_that_does_not_exist_is_refused(run: Run) -> None:
    result = run("fit", "-c", "toy.yaml", "--trainer.strategy", "fdsp", "--out", "never")
    refused(result, "trainer.strategy is 'fdsp': did you mean fsdp")
    result = run("fit", "-c", "toy.yaml", "--trainer.strategy", "horovod", "--out", "never")
    refused(result, "trainer.strategy is 'horovod': valid are auto, ddp")
    assert not Path("never").exists()


def test_19_checking_trains_and_writes_nothing(run: Run) -> None:
    code, out, error = run("fit", "-c", "toy.yaml", "--check", "--out", "never")
    assert code == 0, error
    assert out == "ready to train: configuration, data and one batch are in order\n"
    assert error.startswith("memory: about ")
    assert not Path("never").exists()
    assert not Path("runs").exists()


@pytest.mark.fault
def test_20_a_job_on_slurm_leaves_no_checkpoint_for_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would save one in the working folder at a signal, and any next run load it."""
    job = {"NTASKS": 1, "NTASKS_PER_NODE": 1, "JOB_ID": 7, "JOB_NAME": "flow", "PROCID": 0,
           "LOCALID": 0, "NODEID": 0}  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    handlers = []

    class Look(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGUSR1))

    config = resolve(read_config("toy.yaml"), ["--trainer.devices", "1"])
    quiet()
    cli = SurformCLI(config, [Look()])
    cli.trainer.fit(cli.model, cli.datamodule)
    assert [type(plugin) for plugin in cluster(None)] == [SLURMEnvironment]
    assert handlers == [signal.SIG_DFL]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # torchrun within a job
    assert cluster(None) == []
