from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch

from surform.cli.run_data import data_of
from surform.hub import load_model
from surform.hub.building import build_net
from surform.hub.config import read_config
from surform.hub.migrations import FORMAT_VERSION, m2026_11_argument_names, migrate_config
from surform.registry import find, names

FORMATS = Path(__file__).parent / "formats"


def test_every_old_format_is_stored():
    assert sorted(p.name for p in FORMATS.iterdir()) == [
        f"format{version}" for version in range(1, FORMAT_VERSION)
    ]


def test_format_1_predicts_what_it_did():
    model = load_model(FORMATS / "format1")
    with torch.no_grad():
        output = model(torch.linspace(-1, 1, 8).reshape(1, 8, 1), (torch.linspace(0, 1, 8),))
    expected = torch.tensor(EXPECTED)
    torch.testing.assert_close(output.flatten(), expected, rtol=1e-5, atol=1e-6)


# Printed by the version that wrote the folder.
EXPECTED = [
    0.9857497811317444,
    0.9860533475875854,
    0.98692786693573,
    0.9885390996932983,
    0.9910526275634766,
    0.9936510324478149,
    0.9959753155708313,
    0.9979875087738037,
]


def test_format_2_predicts_what_it_did():
    model = load_model(FORMATS / "format2")
    assert model.net.arguments["head_dim"] == 4
    with torch.no_grad():
        coordinates = (torch.linspace(0, 1, 8), torch.linspace(0, 1, 6))
        output = model(torch.linspace(-1, 1, 48).reshape(1, 8, 6, 1), coordinates)
    expected = torch.tensor(EXPECTED_2)
    torch.testing.assert_close(output.flatten()[:8], expected, rtol=1e-5, atol=1e-6)


EXPECTED_2 = [
    0.6818655729293823,
    1.0111992359161377,
    1.1989625692367554,
    0.9569828510284424,
    0.7824035882949829,
    0.9218938946723938,
    0.30903446674346924,
    0.7351873517036438,
]

ROWS = {"vocab": (5, 3), "multi_vocab": (4,)}
ROWS_NOW = {"vocab_sizes": (5, 3), "multi_vocab_sizes": (4,)}
WORDS = {"vocabulary": 9, "length": 8, "num_classes": 2}
SHORT = {"action_dim": 2, "features": {"state": 3}}
ROBOT = SHORT | {"action_horizon": 4, "observation_horizon": 2, "random_horizon": False}
ROBOT_NOW = SHORT | {"chunk": 4, "history": 2, "random_history": False}
ROBOTS = {"embodiments": {"arm": ROBOT, "disc": ROBOT}, "dim": 16, "depth": 1, "heads": 2}
SMALL_UNET = {"action_dim": 2, "chunk": 4, "state_dim": 3, "unet_channels": (8, 16), "dim": 16}
SMALL_UNET |= {"kernel": 3, "groups": 4, "time_dim": 8}
# For each network, arguments as models of format 2 hold them, and the renamed ones as they are now.
FORMER = [
    ("factformer2d", {"dim": 8, "heads": 2, "dim_head": 4}, {"head_dim": 4}),
    ("factformer2d_steady", {"dim": 8, "heads": 2, "dim_head": 4}, {"head_dim": 4}),
    ("factformer3d", {"dim": 16, "heads": 2, "dim_head": 4}, {"head_dim": 4}),
    (
        "ifactformer",
        {"dim": 12, "heads": 2, "dim_head": 4, "checkpoint": "none"},
        {"head_dim": 4, "recompute": "none"},
    ),
    ("samformer", {"variates": 3, "revin": False}, {"normalize": False}),
    ("pathformer", {"variates": 3, "hidden_dropout": 0.3}, {"ffn_dropout": 0.3}),
    ("dlinear", {"lookback": 9, "horizon": 2, "kernel": 5}, {"kernel_size": 5}),
    (
        "quantiles",
        {"lookback": 9, "horizon": 2, "base": "dlinear", "options": {"kernel": 5}},
        {"options": {"kernel_size": 5}},
    ),
    (
        "equiformer_v2",
        {"dim": 8, "depth": 1, "alpha_drop": 0.1, "proj_drop": 0.2},
        {"attention_dropout": 0.1, "dropout": 0.2},
    ),
    ("unet_policy", SMALL_UNET, {"unet_kernel": 3, "unet_groups": 4, "unet_time_dim": 8}),
    ("hiformer", ROWS | {"eps": 1e-5}, ROWS_NOW | {"norm_eps": 1e-5}),
    *((name, ROWS, ROWS_NOW) for name in ("autoint", "dcn_v2", "dlrm")),
    *((name, ROWS, ROWS_NOW) for name in ("logistic_regression", "popularity")),
    ("folded_hiformer", {"hiformer": ROWS}, {"hiformer": ROWS_NOW}),
    *((name, WORDS, {"vocab_size": 9}) for name in ("text_cct", "text_cvt", "text_vit_lite")),
    ("sequence_encoder", WORDS, {"vocab_size": 9}),
    ("hpt", ROBOT, ROBOT_NOW),
    ("hpt_embodiments", ROBOTS, {"embodiments": {"arm": ROBOT_NOW, "disc": ROBOT_NOW}}),
    (
        "adapted",
        {"base": "sequence_encoder", "options": WORDS},
        {"options": {"vocab_size": 9, "length": 8, "num_classes": 2}},
    ),
]


@pytest.mark.parametrize(("name", "former", "present"), FORMER, ids=[f[0] for f in FORMER])
def test_arguments_of_format_2_build_the_network(name, former, present):
    values = {"net": {"name": name, "arguments": former}}
    net = build_net(migrate_config(values, 2)["net"], "a saved model")
    assert {key: net.arguments[key] for key in present} == present


@pytest.mark.parametrize(("name", "former", "present"), FORMER, ids=[f[0] for f in FORMER])
def test_the_configuration_of_a_run_is_renamed_too(name, former, present):
    class_path = names("models")[name].replace(":", ".")
    node = {"class_path": class_path, "init_args": former}
    stored = {"net": {"name": name, "arguments": former}, "config": {"model": {"net": [node]}}}
    found = m2026_11_argument_names.run(stored)
    renamed = found["config"]["model"]["net"][0]["init_args"]
    assert renamed == found["net"]["arguments"]
    assert renamed.items() >= present.items()


def test_format_1_figures_become_labelled():
    model = load_model(FORMATS / "format1")
    assert model.metrics == {"relative_l2": 0.0123, "h1": 0.5}
    assert model.protocols == {"relative_l2": "clean", "h1": "clean"}


def test_a_migrated_model_is_saved_in_the_present_format(tmp_path):
    folder = load_model(FORMATS / "format1").save_pretrained(tmp_path / "new")
    assert json.loads((folder / "config.json").read_text())["format_version"] == FORMAT_VERSION
    assert read_config(FORMATS / "format1").net == read_config(folder).net


def test_the_present_format_is_left_alone():
    values = {"format_version": FORMAT_VERSION, "metrics": {"a": {"value": 1}}}
    assert migrate_config(values, FORMAT_VERSION) is values


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_migrations_do_not_change_their_input(version):
    values = json.loads((FORMATS / f"format{version}" / "config.json").read_text())
    before = json.dumps(values)
    migrate_config(values, version)
    assert json.dumps(values) == before


def test_descriptions_of_sequences_count_their_vocabulary_by_its_present_name():
    values = {"net": {}, "description": {"tokens": "bytes", "vocabulary": 257}}
    assert migrate_config(values, 2)["description"] == {"tokens": "bytes", "vocab_size": 257}


@pytest.mark.parametrize(
    ("class_path", "former", "present"),
    [
        (
            "surform.data.interactions_module.InteractionsData",
            {"path": "log.csv", "header": ["click"]},
            {"path": "log.csv", "columns": ["click"]},
        ),
        (
            "surform.data.embodiments_module.EmbodimentsData",
            {"path": {"arm": "a.h5"}, "embodiments": {"arm": {"frames": "unpacked"}}},
            {"path": {"arm": "a.h5"}, "embodiments": {"arm": {"unpacked": "unpacked"}}},
        ),
    ],
)
def test_the_data_of_a_run_are_renamed_too(class_path, former, present):
    data = {"class_path": class_path, "init_args": former}
    found = m2026_11_argument_names.run({"config": {"data": data}})
    assert found["config"]["data"]["init_args"] == present


def test_the_data_of_a_run_folder_of_before_are_opened(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "data:\n"
        "  class_path: surform.data.interactions_module.InteractionsData\n"
        "  init_args: {path: log.csv, labels: [click], header: [click, item]}\n"
    )
    assert data_of(str(tmp_path)).options["columns"] == ["click", "item"]


def test_no_former_name_is_a_present_one():
    """So that what has no version, such as a run's config.yaml, may be renamed at any time."""
    for name, table in m2026_11_argument_names._RENAMED.items():
        taken = inspect.signature(find("models" if name in names("models") else "data", name))
        assert not set(table) & set(taken.parameters), name
        assert set(table.values()) <= set(taken.parameters), name
