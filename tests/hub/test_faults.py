"""Every way in which a saved model can be broken or hostile: one sentence, nothing executed."""

from __future__ import annotations

import pytest
import torch

from surform.hub import load_model

pytestmark = pytest.mark.fault


def test_truncated_weights(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load_model(saved)


def test_missing_weights(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_model(saved)


def test_missing_config(saved):
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load_model(saved)


@pytest.mark.parametrize("text", ['{"format_version": 2,', "\x00\x01", "[" * 100_000, "[1, 2]"])
def test_corrupt_config(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json (is not valid JSON|must hold a JSON obj)"):
        load_model(saved)


def test_newer_format(edit_config):
    folder = edit_config(lambda c: c.update(format_version=99, surform_version="9.1"))
    with pytest.raises(ValueError, match=r"has format 99, written by surform 9\.1.*1 to 3"):
        load_model(folder)


@pytest.mark.parametrize("version", [0, -1, "2", None, True, 1.5])
def test_invalid_format_version(edit_config, version):
    with pytest.raises(ValueError, match="no valid format_version"):
        load_model(edit_config(lambda c: c.update(format_version=version)))


def test_unknown_key(edit_config):
    with pytest.raises(ValueError, match=r"unknown keys: setings \(did you mean settings\?\)"):
        load_model(edit_config(lambda c: c.update(setings={})))


def test_missing_key(edit_config):
    with pytest.raises(ValueError, match="lacks the keys normalizers"):
        load_model(edit_config(lambda c: c.pop("normalizers")))


def test_wrong_type(edit_config):
    with pytest.raises(ValueError, match=r"'net\.arguments' has the wrong type list"):
        load_model(edit_config(lambda c: c["net"].update(arguments=[])))


def test_lost_statistics(edit_weights):
    folder = edit_weights(lambda t: t.pop("target_normalizer.mean"))
    with pytest.raises(ValueError, match="lost the statistics of target_normalizer"):
        load_model(folder)


def test_statistics_that_were_never_fitted(edit_weights):
    folder = edit_weights(lambda t: t.update({"input_normalizer.fitted": torch.tensor(False)}))
    with pytest.raises(ValueError, match="input_normalizer have no statistics"):
        load_model(folder)


def test_statistics_of_another_grid(edit_weights):
    folder = edit_weights(
        lambda t: t.update(
            {f"input_normalizer.{n}": torch.ones(7, 1) for n in ("mean", "std")},
        )
    )
    with pytest.raises(ValueError, match=r"statistics of input_normalizer have shape \(7, 1\)"):
        load_model(folder)


def test_missing_and_unknown_tensors_are_all_listed(edit_weights):
    def change(tensors):
        name = next(n for n in tensors if n.startswith("net."))
        tensors["net.renamed"] = tensors.pop(name)

    with pytest.raises(ValueError, match=r"1 missing: net\..*1 unknown: net\.renamed"):
        load_model(edit_weights(change))


def test_wrong_shape(edit_weights):
    def change(tensors):
        name = next(n for n in tensors if n.startswith("net.") and tensors[n].ndim == 2)
        tensors[name] = tensors[name][:-1].contiguous()

    with pytest.raises(ValueError, match=r"1 of another shape: net\..* instead of"):
        load_model(edit_weights(change))


def test_nan_weights(edit_weights):
    def change(tensors):
        next(t for n, t in tensors.items() if n.startswith("net."))[...] = float("nan")

    with pytest.raises(ValueError, match=r"1 not finite: net\."):
        load_model(edit_weights(change))


def test_unregistered_class_is_not_imported(edit_config, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("open('executed', 'w').close()\nclass Net: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    net = {"class_path": "evil_module:Net", "arguments": {}}
    with pytest.raises(ValueError, match="'evil_module:Net', which is not registered"):
        load_model(edit_config(lambda c: c.update(net=net)))
    assert not (tmp_path / "executed").exists()


def test_unknown_network_name(edit_config):
    with pytest.raises(ValueError, match="unknown model 'galerkin1e': did you mean galerkin1d"):
        load_model(edit_config(lambda c: c["net"].update(name="galerkin1e")))


def test_unknown_kind_of_model(edit_config):
    with pytest.raises(ValueError, match="unknown surrogate 'field': did you mean fields"):
        load_model(edit_config(lambda c: c.update(kind="field")))


def test_unknown_constructor_argument(edit_config):
    with pytest.raises(ValueError, match=r"has no argument 'head' \(did you mean heads\?\)"):
        load_model(edit_config(lambda c: c["net"]["arguments"].update(head=2)))


def test_refused_constructor_argument(edit_config):
    with pytest.raises(ValueError, match=r"refuses its arguments: .*depth"):
        load_model(edit_config(lambda c: c["net"]["arguments"].update(depth=0)))


def test_bad_description(edit_config):
    with pytest.raises(ValueError, match="unknown keys in a fields description: colour"):
        load_model(edit_config(lambda c: c["description"].update(colour="red")))


def test_a_network_too_large_for_memory(edit_config):
    folder = edit_config(lambda c: c["net"]["arguments"].update(dim=10**15))
    with pytest.raises(ValueError, match="GalerkinTransformer1d refuses its arguments") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("decoder_depth", 2**70, r"they make more than 1\d\d\d tensors, but \d\d tensors of"),
        ("depth", 2**31, r"they make more than 1\d\d\d layers, but \d\d tensors of"),
        ("modes", 10**6, r"they make more than 67\d{6} numbers, but \d\d tensors of"),
    ],
)
def test_networks_far_larger_than_their_weights(edit_config, name, value, message):
    folder = edit_config(lambda c: c["net"]["arguments"].update({name: value}))
    with pytest.raises(ValueError, match=f"GalerkinTransformer1d refuses .*: {message}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["metrics"]["relative_l2"].update(value="abc"), "must be a number, not 'abc'"),
        (lambda c: c["metrics"]["relative_l2"].update(value=True), "must be a number, not True"),
        (lambda c: c["metrics"]["relative_l2"].update(protocol=3), "protocol of .* must be text"),
        (lambda c: c.update(normalizers=[1, 2]), r"'normalizers' must list names, not \[1, 2\]"),
        (lambda c: c.update(card={"limits": 7}), "card's 'limits' must be text, not 7"),
    ],
)
def test_values_of_another_type(edit_config, change, message):
    with pytest.raises(ValueError, match=message):
        load_model(edit_config(change))


def test_unlabelled_figure(edit_config):
    with pytest.raises(ValueError, match="'relative_l2' must have a value and a protocol"):
        load_model(edit_config(lambda c: c["metrics"].update(relative_l2=0.1)))


def test_no_such_model():
    with pytest.raises(FileNotFoundError, match="no model 'nowhere/at-all'"):
        load_model("nowhere/at-all")


def test_a_checkpoint_without_system_is_explained(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "official.pt")
    with pytest.raises(ValueError, match="system="):
        load_model(tmp_path / "official.pt")


def test_other_files_are_no_models(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"neither a folder nor a \.zip or \.tar archive"):
        load_model(tmp_path / "notes.txt")


def test_constructor_without_system(saved):
    with pytest.raises(ValueError, match="give `system`"):
        load_model(saved, constructor={})


@pytest.mark.parametrize("name", ["hf://", "hf://owner", "hf://a/b/c", "hf://../x", "hf://a b/c"])
def test_bad_hub_address(name):
    with pytest.raises(ValueError, match="is no repository name"):
        load_model(name)


@pytest.mark.parametrize(
    "revision", ["../../evil", "/etc/passwd", "a/../b", "main\nHost: x", "a?b"]
)
def test_bad_revision(revision):
    with pytest.raises(ValueError, match="is no revision"):
        load_model(f"hf://owner/name@{revision}")
