from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from surform.hub import load_model
from surform.hub.config import read_config
from surform.hub.migrations import FORMAT_VERSION, migrate_config

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
