"""Merging of recipes, files and overrides, before any class is imported."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import pytest

from surform.cli.fit_config import apply_overrides, merge, parse_value, read_config
from surform.cli.fit_resume import (
    check_agreement,
    disagreements,
    find_checkpoint,
    options,
    run_folder_of,
)
from surform.data.faults import command_line
from surform.training.schedules import Schedule

BASE: dict[str, Any] = {
    "model": {
        "class_path": "surform.operators.task.FieldTask",
        "init_args": {
            "net": {"class_path": "a.Small", "init_args": {"dim": 8, "heads": 2}},
            "metrics": ["relative_l2"],
        },
    },
    "trainer": {"max_steps": 3},
}


def net(config: dict[str, Any]) -> dict[str, Any]:
    return config["model"]["init_args"]["net"]


def test_options_of_a_class_go_into_its_arguments() -> None:
    found = apply_overrides(BASE, ["--model.net.dim", "64", "--trainer.max_steps=5"])
    assert net(found)["init_args"] == {"dim": 64, "heads": 2}
    assert found["trainer"]["max_steps"] == 5
    assert net(BASE)["init_args"]["dim"] == 8  # the original is left alone


@pytest.mark.parametrize("option", ["--model.net", "--model.net.class_path"])
def test_another_class_drops_the_options_of_the_former(option: str) -> None:
    found = apply_overrides(BASE, [option, "galerkin1d"])
    assert net(found) == {"class_path": "surform.operators.galerkin.GalerkinTransformer1d"}


def test_naming_the_same_class_keeps_its_options() -> None:
    assert net(apply_overrides(BASE, ["--model.net", "a.Small"])) == net(BASE)


def test_lists_are_replaced_or_appended_to() -> None:
    replaced = apply_overrides(BASE, ["--model.metrics", "[rmse, h1]"])
    appended = apply_overrides(BASE, ["--model.metrics+=rmse"])
    assert replaced["model"]["init_args"]["metrics"] == ["rmse", "h1"]
    assert appended["model"]["init_args"]["metrics"] == ["relative_l2", "rmse"]


def test_callbacks_are_found_by_their_short_names() -> None:
    found = apply_overrides(BASE, ["--trainer.callbacks+=Timer"])
    assert found["trainer"]["callbacks"] == [{"class_path": "lightning.pytorch.callbacks.Timer"}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("5E4", 5e4), ("-1", -1), ("true", True), ("null", None),
        ("[1, 2]", [1, 2]), ("{train: 4}", {"train": 4}), ("gelu", "gelu"), ("1.5.2", "1.5.2"),
        ("", ""), ("10:30", "10:30"), ("1:0.4", "1:0.4"), ("[10:00:00:00, 2]", ["10:00:00:00", 2]),
    ],
)  # fmt: skip
def test_words_become_values(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    "value",
    ["", "|", "\t", ";", ",", "1D", "my time", "a'b", "Zeit/ü", "a: b", "1", "no", False, 6],
)
def test_advice_is_read_as_it_was_meant(value: Any) -> None:
    words = shlex.split(command_line(time=value))
    assert apply_overrides({}, words) == {"data": {"time": value}}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modle.net", "x"], "unknown option --modle.net: did you mean --model?"),
        (["--model.net", "galerkin3d"], "did you mean galerkin2d"),
        (["--model.loss", "relative_l3"], "did you mean relative_l2"),
        (["--trainer.max_steps"], "--trainer.max_steps needs a value"),
        (["--trainer.max_steps", "--model.net"], "--trainer.max_steps needs a value"),
        (["max_steps=3"], "unexpected argument 'max_steps=3'"),
        (["--trainer.max_steps.x", "1"], "trainer.max_steps is 3, it has no options"),
    ],
)
def test_wrong_overrides_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        apply_overrides(BASE, words)
    assert message in str(error.value)


def test_later_files_win_key_by_key() -> None:
    later = {"model": {"init_args": {"net": {"init_args": {"dim": 9}}}}}
    assert net(merge(BASE, later))["init_args"] == {"dim": 9, "heads": 2}


def test_a_network_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("class_path: factformer2d\ninit_args: {dim: 1e2}\n")
    (tmp_path / "all.yaml").write_text("model: {class_path: fields, init_args: {net: net.yaml}}\n")
    found = net(read_config(str(tmp_path / "all.yaml")))
    assert found == {
        "class_path": "surform.operators.factformer.FactFormer2d",
        "init_args": {"dim": 100.0},
    }


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {}", "unknown key 'modle': did you mean model?"),
        (".inf: {}", "unknown key inf: valid are data, model, seed_everything, trainer"),
        ("- 1", "must hold a mapping"),
        ("model: {a: 1, a: 2}", "'a' is given twice"),
        ("model: [", "is not valid YAML"),
        ("model: {class_path: feilds}", "did you mean fields"),
        ("model: {class_path: fields, init_args: {net: gone.yaml}}", "there is no file"),
    ],
)
def test_wrong_files_are_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_config(str(path))
    assert message in str(error.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("operators/quikstart", "did you mean operators/quickstart"),
        ("missing.yaml", "there is no configuration file missing.yaml"),
    ],
)
def test_missing_recipes_name_the_closest(name: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        read_config(name)


def test_recipes_are_found_by_their_short_names() -> None:
    assert read_config("galerkin-burgers") == read_config("operators/galerkin-burgers")


def test_disagreements_are_what_changes_the_computation() -> None:
    other = merge(BASE, {"trainer": {"max_steps": 9, "devices": 2, "log_every_n_steps": 1}})
    assert disagreements(BASE, other, ("model", "trainer")) == [("trainer.max_steps", 3, 9)]
    with pytest.raises(ValueError, match=r"max_steps is 3 in the checkpoint but 9.*--override"):
        check_agreement(BASE, other, ("model", "trainer"))
    check_agreement(BASE, other, ("model",))


def test_checkpoints_are_found_by_name_folder_and_file(tmp_path: Path) -> None:
    import os

    for number, name in enumerate(("old", "new")):
        folder = tmp_path / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        os.utime(folder / "last.ckpt", (number, number))
    newest = tmp_path / "new" / "checkpoints" / "last.ckpt"
    assert find_checkpoint("last", tmp_path) == newest
    assert find_checkpoint(str(tmp_path / "new"), Path()) == newest
    assert find_checkpoint(str(newest), Path()) == newest
    assert run_folder_of(newest) == tmp_path / "new"
    with pytest.raises(FileNotFoundError, match="there is no best checkpoint below"):
        find_checkpoint("best", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint nowhere"):
        find_checkpoint("nowhere", tmp_path)
    with pytest.raises(ValueError, match="--ckpt_path is empty: give last, best, a checkpoint"):
        find_checkpoint("", tmp_path)


def test_dicts_that_are_no_classes_are_replaced() -> None:
    old = {"split": {"train": 4, "validation": 2, "test": 4}, "generate": {"solver": "a", "n": 3}}
    base = BASE | {"data": {"class_path": "a.Data", "init_args": old}}
    words = ["--data.split", "{train: 6, validation: 1}", "--data.generate", "{solver: burgers}"]
    later = {"data": {"init_args": {"split": {"train": 6, "validation": 1}}}}
    expected = {"split": {"train": 6, "validation": 1}, "generate": {"solver": "burgers"}}
    assert apply_overrides(base, words)["data"]["init_args"] == expected
    assert merge(base, later)["data"]["init_args"] == old | {"split": expected["split"]}
    one = apply_overrides(base, ["--data.split.train", "9"])
    assert one["data"]["init_args"]["split"] == {"train": 9, "validation": 2, "test": 4}


def test_an_option_that_a_checkpoint_does_not_know_counts_when_it_is_asked_for() -> None:
    newer = merge(BASE, {"model": {"init_args": {"net": {"init_args": {"bias": True}}}}})
    asked = options([apply_overrides({}, ["--model.net.bias", "true"])])
    assert disagreements(BASE, newer, ("model",)) == []
    assert [name for name, _, _ in disagreements(BASE, newer, ("model",), asked)] == [
        "model.init_args.net.init_args.bias"
    ]


@pytest.mark.parametrize(
    "name", ["Halving", "CosineEpochs", "RestartedCosine", "one_cycle", "step_decay"]
)
def test_schedules_are_found_by_their_short_names(name: str) -> None:
    config = apply_overrides(BASE, ["--model.schedule", name])
    found = config["model"]["init_args"]["schedule"]["class_path"]
    module, _, cls = found.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), cls), Schedule)
