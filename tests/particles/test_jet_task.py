"""Training of taggers: figures of splits, the optimum beside, reports, predictions, saving."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import Adam

import surform
from surform.cli import main
from surform.data.normalizers import Normalizer
from surform.hub.convert import from_official
from surform.particles.emulation import emulate
from surform.particles.fixed_jetformer import FixedJetFormer
from surform.particles.jet_tagger import JetTagger
from surform.particles.jetformer import JetFormer
from surform.particles.official import SYSTEM
from surform.particles.roc import mean_area, roc_curves
from surform.particles.task import JetTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.schedules import Constant
from tests.data.jet_files import hls4ml
from tests.particles.jet_data import jet_data, jets_path, tagger
from tests.training.toy import trainer


def task(**options: Any) -> JetTask:
    torch.manual_seed(0)
    given = {"optimizer": lambda params: Adam(params, lr=1e-2), "schedule": Constant()} | options
    return JetTask(JetFormer(in_channels=3, dim=16, depth=2, mask_padding=True), **given)


@pytest.fixture
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


@pytest.mark.usefixtures("_quiet_lightning")
def test_training_learns_and_figures_are_those_of_the_whole_split(tmp_path: Path) -> None:
    module, data = task(), jet_data()
    run = trainer(tmp_path, max_epochs=8)
    run.fit(module, data)
    figures = run.test(module, data, verbose=False)[0]
    samples = data.samples("test")
    batch = samples[list(range(len(samples)))]
    with torch.no_grad():
        chances = module.eval().surrogate.outputs(batch)
    area = mean_area(roc_curves(chances, batch.targets))
    best = mean_area(roc_curves(batch.log_densities.softmax(1), batch.targets))
    assert figures["test/auc/clean"] == pytest.approx(area, abs=1e-6)
    assert figures["test/optimal_auc/clean"] == pytest.approx(best, abs=1e-6)
    assert figures["test/auc_of_optimum/clean"] == pytest.approx((area - 0.5) / (best - 0.5))
    assert 0.6 < area < best
    right = (chances.argmax(1) == batch.targets).float().mean().item()
    assert figures["test/top1/clean"] == pytest.approx(right)
    curve = roc_curves(chances, batch.targets)[4]
    assert figures["test/auc_top/clean"] == pytest.approx(curve.area)
    assert figures["test/rejection_top/clean"] == pytest.approx(curve.rejection(0.5), rel=1e-5)
    roc = np.array(module.profiles["test"]["roc"])
    assert roc.shape == (5, 201)
    assert bool((np.diff(roc) >= 0).all())


def test_a_model_is_saved_with_what_it_needs(tmp_path: Path) -> None:
    model = tagger()
    model.save_pretrained(tmp_path / "m")
    again = surform.load_model(tmp_path / "m")
    particles = jet_data().samples("test")[list(range(20))].particles
    with torch.no_grad():
        assert torch.equal(again(particles), model(particles))
    assert again.description == model.description
    changed = particles.clone()
    changed[:, 9] = 0  # the softest particle of full jets
    padded = (particles[:, 9] == 0).all(-1)
    with torch.no_grad():
        same = (again(changed) == model(particles)).all(-1)
    assert torch.equal(same, padded)


@pytest.mark.parametrize("kind", [JetFormer, FixedJetFormer])
def test_jets_of_one_particle_and_of_none_have_answers(kind: type[JetFormer]) -> None:
    model = tagger()
    particles = jet_data().samples("test")[list(range(4))].particles.clone()
    if kind is FixedJetFormer:
        model = emulate(model, particles)
    particles[1, 1:], particles[2] = 0, 0
    with torch.no_grad():
        found = model(particles)
        assert bool(found.isfinite().all())
        alone = model(particles[1:2, :1])
    torch.testing.assert_close(alone, found[1:2], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("_quiet_lightning")
def test_a_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    def run(place: Path, epochs: int, resume: bool = False) -> dict[str, Any]:
        parts = [Checkpoints(place, every_n_steps=2), ExactResume()]
        once = trainer(place, max_epochs=epochs, callbacks=parts, enable_checkpointing=True)
        path = place / "last.ckpt" if resume else None
        module = task(ema_decay=0.9)
        once.fit(module, jet_data(batch_size=30), ckpt_path=path, weights_only=True)
        return read_checkpoint(place / "last.ckpt")

    whole = run(tmp_path / "whole", 2)
    run(tmp_path / "parts", 1)
    parts = run(tmp_path / "parts", 2, resume=True)
    assert whole["global_step"] == parts["global_step"] == 12
    for key in ("state_dict", "training_weights"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_predictions_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger()
    table = model.predict(jets_path(), batch_size=77)
    assert len(table) == 400
    names = [f"p_{name}" for name in model.description.classes]
    np.testing.assert_allclose(table[names].sum(axis=1), 1, rtol=1e-5)
    best = table[names].to_numpy().argmax(1)
    assert table["prediction"].tolist() == [model.description.classes[n] for n in best]
    model.save_pretrained(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    words = ["predict", "--ckpt_path", "m", "--data.path", jets_path(), "--out"]
    assert main([*words, "a.csv"]) == 0
    pd.testing.assert_frame_equal(
        pd.read_csv("a.csv"), model.predict(jets_path()), rtol=1e-4, check_dtype=False
    )
    assert main([*words, "a.parquet"]) == 0
    assert len(pd.read_parquet("a.parquet")) == 400


def test_from_fit_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    words = (
        "fit --config particles/quickstart --out r --data.path j.zarr --model.net.dim 8 "
        "--data.batch_size 64 --trainer.max_epochs 1 --data.generate "
    )
    made = {"solver": "jets", "samples": 400, "particles": 8, "turns": 4}
    assert main([*words.split(), json.dumps(made)]) == 0
    assert main(["test", "--ckpt_path", "best", "--out", "r"]) == 0
    shown = capsys.readouterr().out
    for figure in ("auc", "optimal_auc", "auc_of_optimum", "rejection_top", "auc_W"):
        assert f"test/{figure} " in shown
    page = Path("r/report.html").read_text()
    for title in ("Jets", "ROC curves", "Confusion", "Classes"):
        assert re.search(rf"<h2[^>]*>{title}", page), title
    assert "best possible AUC" in page
    model = surform.load_model("r/model")
    assert model.description.source["solver"] == "jets"
    assert model.metrics["validation/auc"] > 0.4


def test_a_converted_network_takes_statistics(tmp_path: Path) -> None:
    given = {"in_dim": 3, "embbed_dim": 8, "num_transformers": 1, "num_particles": 10}
    name, arguments = SYSTEM.arguments(given)
    net = surform.create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    state["transformers.0.self_attention.pre_exp_norm.bias"] = torch.zeros(121)
    torch.save(state, tmp_path / "model.pth")
    converted = from_official(tmp_path / "model.pth", "jetformer", given)
    assert list(converted.accounting.dropped) == ["transformers.0.self_attention.pre_exp_norm.bias"]
    model, data = converted.model, jet_data()
    with pytest.raises(ValueError, match="does not know its classes and what its particles"):
        model.predict(jets_path())
    model.fit_to(data.description(), *data.normalizers())
    assert len(model.predict(jets_path())) == 400


@pytest.mark.usefixtures("_quiet_lightning")
def test_training_goes_on_in_fixed_point_numbers(tmp_path: Path) -> None:
    start = tagger(dim=16)
    start.save_pretrained(tmp_path / "m")
    net = FixedJetFormer(**start.net.arguments, activation_width=6)
    module = JetTask(
        net,
        weights=str(tmp_path / "m"),
        optimizer=lambda params: Adam(params, lr=1e-2),
        schedule=Constant(),
    )
    run, data = trainer(tmp_path / "r", max_epochs=4), jet_data()
    batch = data.samples("train")[list(range(200))]

    def loss(model: JetTagger) -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(batch.particles), batch.targets))

    before = loss(emulate(start, batch.particles, 8, 6))
    run.fit(module, data)
    assert "bits before the point from 200 jets" in module.remarks[-1]
    assert loss(module.surrogate.eval()) < before - 0.03
    assert torch.equal(net.blocks[0].norm.running_mean, start.net.blocks[0].norm.running_mean)
    assert not torch.equal(net.head.weight, start.net.head.weight)


@pytest.mark.fault
def test_weights_that_cannot_be_begun_with(tmp_path: Path) -> None:
    module = task(weights="cct-digits")
    with pytest.raises(ValueError, match="cct-digits is no tagger of jets, but of the kind images"):
        trainer(tmp_path, max_epochs=1).fit(module, jet_data())
    tagger().save_pretrained(tmp_path / "m")
    module = task(weights=str(tmp_path / "m"))
    data = jet_data(features=["pt", "eta_rel", "phi_rel"])
    with pytest.raises(ValueError, match="was trained with the features log_pt, eta_rel, phi_rel"):
        trainer(tmp_path, max_epochs=1).fit(module, data)


@pytest.mark.fault
def test_what_cannot_be_predicted(tmp_path: Path) -> None:
    model = tagger()
    other = hls4ml(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="has no feature 'log_pt' of particles"):
        model.predict(str(other))
    with pytest.raises(ValueError, match="predictions are written to one of"):
        model.predict_file(jets_path(), tmp_path / "a.txt")
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        model.predict_file(str(other), f"{other}/a.csv")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        model.predict(jets_path(), batch_size=0)
    assert not list(tmp_path.glob("*.txt"))


@pytest.mark.fault
def test_tasks_and_taggers_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="signal_efficiency is 0, but must lie in"):
        task(signal_efficiency=0)
    with pytest.raises(ValueError, match="unknown metric 'recall': choose from auc, top1"):
        task(metrics=["recall"], monitor="recall")
    model, data = JetTagger(JetFormer(in_channels=3, dim=8)), jet_data()
    with pytest.raises(ValueError, match="normalizer have no statistics"):
        model.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=r"shape \(2,\), but particles have 3 features"):
        model.fit_to(data.description(), Normalizer(torch.zeros(2), torch.ones(2)))
    with pytest.raises(
        ValueError, match=r"\(2, 5, 4\), but .* takes \(jets, particles, 3 features\)"
    ):
        tagger()(torch.ones(2, 5, 4))
    module = JetTask(JetFormer(in_channels=4, dim=8))
    with pytest.raises(ValueError, match="in_channels"):
        trainer(tmp_path, max_epochs=1).fit(module, data)
