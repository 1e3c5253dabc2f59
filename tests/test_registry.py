from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import surform
from surform import registry
from surform.cli.source import read_source


@pytest.fixture
def third_party(monkeypatch):
    """Entry points of another package."""

    def install(**entries):
        points = [EntryPoint(name, value, "surform.models") for name, value in entries.items()]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: points if group == "surform.models" else []
        )
        registry._entries.cache_clear()

    yield install
    monkeypatch.undo()
    registry._entries.cache_clear()


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [(k, n, p) for k, table in registry.BUILT_IN.items() for n, p in table.items()],
)
def test_every_entry_exists(kind, name, path):
    assert registry.find(kind, name) is registry.import_object(path)


def test_listing_matches_shell_patterns_and_imports_nothing():
    assert surform.list_models("galerkin?d") == ["galerkin1d", "galerkin2d"]
    assert surform.list_models("nothing") == []
    code = "import sys, surform; surform.list_models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_get_the_closest():
    with pytest.raises(ValueError, match="unknown model 'galerkin1': did you mean galerkin1d"):
        surform.create_model("galerkin1")
    with pytest.raises(ValueError, match=r"unknown loss 'l3': did you mean .*relative_l2"):
        registry.lookup("losses", "l3")
    with pytest.raises(ValueError, match="none is registered"):
        registry.lookup("instruments", "violin")


def test_third_parties_add_but_never_replace(third_party):
    third_party(mine="somewhere:Net", galerkin1d="evil:Net")
    assert registry.lookup("models", "mine") == "somewhere:Net"
    assert registry.lookup("models", "galerkin1d").startswith("surform.operators")


def test_created_models_know_their_arguments(third_party):
    with pytest.raises(TypeError, match="galerkin1d has no argument 'dimm': did you mean dim"):
        surform.create_model("galerkin1d", dimm=8)
    assert surform.create_model("galerkin1d", dim=8, heads=2).arguments["dim"] == 8
    third_party(linear="torch.nn:Linear")
    model = surform.create_model("linear", in_features=2, out_features=3)
    assert model.arguments["in_features"] == 2
    assert model.arguments["bias"] is True


@pytest.mark.parametrize("name", surform.list_models())
def test_every_argument_is_typed_and_every_default_is_plain(name):
    source = read_source(registry.lookup("models", name))
    assert source.summary
    assert "arXiv" in source.doc
    for argument in source.arguments:
        assert argument.annotation, argument.name
        if argument.default is not None:
            ast.literal_eval(argument.default)
