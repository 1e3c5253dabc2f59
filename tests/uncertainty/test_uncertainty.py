"""Conformal intervals and deep ensembles around models of any domain, and their scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import surform
from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from surform.uncertainty import Conformal, DeepEnsemble
from surform.uncertainty.residuals import Residuals, order_statistics
from surform.uncertainty.scores import covered, interval_score, pinball, quantile_crps

COORDINATES = (torch.linspace(0, 1, 9),)


def surrogate(seed: int = 0) -> FieldSurrogate:
    torch.manual_seed(seed)
    net = surform.create_model("galerkin1d", dim=8, depth=1, heads=1, modes=3, decoder_dim=4)
    model = FieldSurrogate(net)
    about = FieldsDescription(
        inputs=("a",),
        targets=("u",),
        axes=("x",),
        shape=(9,),
        coordinates={"x": COORDINATES[0].tolist()},
        periodic={"x": False},
    )
    one = torch.ones(1)
    model.fit_to(about, Normalizer(0 * one, one), Normalizer(0 * one, one))
    return model.eval()


def batch(count: int, model: FieldSurrogate, noise: float, seed: int) -> FieldBatch:
    """Truth = the model's own answer plus an offset and noise that grows with nothing."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 9, 1, generator=generator)
    with torch.no_grad():
        output = model(inputs, COORDINATES)
    error = 0.3 + noise * torch.randn(output.shape, generator=generator)
    return FieldBatch(inputs, output + error, COORDINATES)


def test_order_statistics_are_those_of_the_definition():
    errors = torch.randn(19, 3, dtype=torch.float64)
    ordered = errors.sort(0).values
    found = order_statistics(errors, (0.1, 0.5, 0.9))
    torch.testing.assert_close(found, ordered[[1, 9, 17]])  # 0.1 * 20 = 2nd, 10th, 18th
    assert order_statistics(errors[:9], (0.05, 0.95)).tolist() == [
        ordered_.tolist() for ordered_ in errors[:9].sort(0).values[[0, 8]]
    ]


def test_intervals_cover_new_data_and_correct_the_bias():
    model = surrogate()
    wrapped = Conformal(model).calibrate([batch(40, model, 0.1, seed) for seed in range(5)])
    new = batch(2000, model, 0.1, 77)
    for coverage in (0.5, 0.8, 0.9, 0.95):
        lower, upper = wrapped.interval(new, coverage)
        rate = covered(lower, upper, new.targets).mean().item()
        assert coverage - 0.02 < rate < coverage + 0.03
    middle = wrapped.quantiles(new)[wrapped.levels.index(0.5)]
    assert (middle - wrapped.outputs(new)).mean().item() == pytest.approx(0.3, abs=0.02)
    assert wrapped.residuals.shape == (9, 1, 1)  # the grid is pooled, the channel is not


def test_quantiles_increase_and_the_output_stays_the_models():
    model = surrogate()
    wrapped = Conformal(model).calibrate([batch(60, model, 0.1, 0)])
    new = batch(5, model, 0.1, 1)
    assert (wrapped.quantiles(new).diff(dim=0) >= 0).all()
    assert torch.equal(wrapped(new.inputs, COORDINATES), model(new.inputs, COORDINATES))


def test_calibration_leaves_the_mode_alone_and_ignores_dropout():
    torch.manual_seed(0)
    net = surform.create_model(
        "galerkin1d", dim=8, depth=1, heads=1, modes=3, decoder_dim=4, dropout=0.5
    )
    model = surrogate()
    model.net = net
    model.eval()
    data = batch(60, model, 0.1, 0)
    before = model.outputs(data)
    wrapped = Conformal(model)
    assert not wrapped.training
    wrapped.calibrate([data])
    assert not model.training
    assert torch.equal(model.outputs(data), before)
    assert torch.equal(wrapped.calibrate([data]).quantiles(data), wrapped.quantiles(data))
    wrapped.train()
    residuals = wrapped.residuals
    assert torch.equal(wrapped.calibrate([data]).residuals, residuals)  # without dropout
    assert wrapped.training
    assert model.training


def test_the_fewest_windows_that_will_do():
    model = surrogate()
    Conformal(model).calibrate([batch(39, model, 0.1, 0)])
    with pytest.raises(ValueError, match="38 windows are too few"):
        Conformal(model).calibrate([batch(38, model, 0.1, 0)])


def test_a_calibrated_model_is_saved_and_loaded_like_any_other(tmp_path):
    model = surrogate()
    wrapped = Conformal(model).calibrate([batch(60, model, 0.1, 0)])
    again = surform.load_model(wrapped.save_pretrained(tmp_path / "m"))
    assert isinstance(again, Conformal)
    new = batch(4, model, 0.1, 1)
    assert torch.equal(again.quantiles(new), wrapped.quantiles(new))
    assert again.description == model.description
    assert int(again.windows) == 60


def test_an_ensemble_answers_with_the_mean_and_survives_saving(tmp_path):
    members = [surrogate(seed) for seed in range(3)]
    together = DeepEnsemble(members)
    new = batch(4, members[0], 0.1, 1)
    expected = torch.stack([m(new.inputs, COORDINATES) for m in members])
    torch.testing.assert_close(together.outputs(new), expected.mean(0))
    torch.testing.assert_close(together.spread(new), expected.std(0))
    again = surform.load_model(together.save_pretrained(tmp_path / "m"))
    assert torch.equal(again.spread(new), together.spread(new))


def test_a_calibrated_ensemble_has_intervals_as_wide_as_its_members_disagree(tmp_path):
    together = DeepEnsemble([surrogate(seed) for seed in range(3)])
    wrapped = Conformal(together, scaled=True).calibrate([batch(60, together, 0.1, 0)])
    again = surform.load_model(wrapped.save_pretrained(tmp_path / "m"))
    new = batch(6, together, 0.1, 1)
    lower, upper = again.interval(new, 0.9)
    ratio = (upper - lower) / together.spread(new)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_residuals_stay_below_the_memory_they_were_given():
    kept = Residuals(most=1000)
    errors = torch.arange(4000.0)[:, None]
    for part in errors.split(7):
        kept.add(part, ())
    windows, found = kept.joined()
    assert windows == len(found) <= 1000
    assert found.unique().numel() == windows
    assert (found[1:] - found[:-1]).unique().numel() == 1  # evenly spread over all that was seen


def test_the_score_of_many_quantiles_is_the_crps_of_the_distribution():
    count = 999
    levels = [(k + 1) / (count + 1) for k in range(count)]
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels).double())
    target = torch.tensor([0.0, 0.7, -1.4], dtype=torch.float64)
    found = quantile_crps(quantiles[:, None].expand(-1, 3), target, levels)
    normal = torch.distributions.Normal(0.0, 1.0)
    exact = (
        target * (2 * normal.cdf(target) - 1)
        + 2 * normal.log_prob(target).exp()
        - 1 / math.sqrt(math.pi)
    )
    torch.testing.assert_close(found, exact, atol=2e-3, rtol=0)


def test_pinball_and_interval_score_by_hand():
    loss = pinball(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0]), (0.1, 0.9))
    np.testing.assert_allclose(loss[:, 0], [0.1, 0.1], rtol=1e-6)
    score = interval_score(torch.tensor(1.0), torch.tensor(3.0), torch.tensor(4.0), 0.9)
    assert score.item() == pytest.approx(2 + 20)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("levels", "words"),
    [((), "levels must"), ((0.1, 0.8), "symmetric"), ((0.9, 0.1), "increase"), ((0, 1), "between")],
)
def test_levels_are_checked(levels, words):
    with pytest.raises(ValueError, match=words):
        Conformal(surrogate(), levels)


@pytest.mark.fault
def test_what_cannot_be_is_said_in_one_sentence(tmp_path):
    model = surrogate()
    with pytest.raises(ValueError, match="not calibrated"):
        Conformal(model).quantiles(batch(2, model, 0.1, 0))
    with pytest.raises(ValueError, match="not calibrated"):
        Conformal(model).save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=r"3 windows are too few .* 0\.025: give at least 39"):
        Conformal(model).calibrate([batch(3, model, 0.1, 0)])
    with pytest.raises(ValueError, match="no windows"):
        Conformal(model).calibrate([])
    with pytest.raises(ValueError, match="has no spread"):
        Conformal(model, scaled=True)
    with pytest.raises(ValueError, match="at least two"):
        DeepEnsemble([model])
    other = FieldSurrogate(surform.create_model("galerkin1d", dim=16, depth=1, heads=1, modes=3))
    with pytest.raises(ValueError, match="member 1 differs from the first one in its network"):
        DeepEnsemble([model, other])
    wrapped = Conformal(model).calibrate([batch(60, model, 0.1, 0)])
    with pytest.raises(ValueError, match=r"no interval of coverage 0\.77 .* choose 0\.95, 0\.9"):
        wrapped.interval(batch(2, model, 0.1, 0), 0.77)


@pytest.mark.parametrize("scaled", [False, True])
def test_labelled_predictions_of_fields_carry_their_quantiles(scaled):
    import xarray as xr

    together = DeepEnsemble([surrogate(seed) for seed in range(2)])
    wrapped = Conformal(together, scaled=scaled).calibrate([batch(60, together, 0.1, 0)])
    new = batch(3, together, 0.1, 1)
    x = COORDINATES[0].numpy()
    given = xr.Dataset({"a": (("sample", "x"), new.inputs[..., 0].numpy())}, {"x": x})
    found = wrapped.predict(given)
    assert found["u_quantiles"].dims == ("sample", "x", "quantile")
    np.testing.assert_allclose(found["quantile"], wrapped.levels)
    with torch.no_grad():
        expected = wrapped.quantiles(new)[..., 0].permute(1, 2, 0)
    np.testing.assert_allclose(found["u_quantiles"], expected, atol=1e-6)
    np.testing.assert_allclose(found["u"], together.outputs(new).detach()[..., 0], atol=1e-6)


def test_errors_are_measured_in_the_unit_that_samples_bring(tmp_path):
    from surform.data.series_batch import SeriesBatch
    from surform.forecasting.baselines import Naive
    from surform.forecasting.forecaster import Forecaster
    from tests.forecasting.toys import about, statistics

    def windows(count, seed):
        """Two kinds of series, one a thousand times as large as the other."""
        generator = torch.Generator().manual_seed(seed)
        size = torch.tensor([1.0, 1000.0]).repeat(count // 2)[:, None].expand(-1, 3)
        noise = torch.randn(count, 10, 3, generator=generator) * size[:, None]
        return SeriesBatch(noise[:, :6], noise[:, 6:], scale=size)

    model = Forecaster(surform.create_model("dlinear", lookback=6, horizon=4, kernel_size=3))
    model.net = Naive(lookback=6, horizon=4)
    model.fit_to(about(), statistics())
    wrapped = Conformal(model.eval()).calibrate([windows(600, 0), windows(600, 1)])
    assert wrapped.relative
    new = windows(4000, 2)
    lower, upper = wrapped.interval(new, 0.9)
    inside = covered(lower, upper, new.targets).mean((1, 2))
    for part in (inside[::2], inside[1::2]):  # small and large series alike
        assert part.mean().item() == pytest.approx(0.9, abs=0.02)
    torch.testing.assert_close((upper - lower)[1], 1000 * (upper - lower)[0], rtol=1e-3, atol=0)
    model.net = surform.create_model("dlinear", lookback=6, horizon=4, kernel_size=3)
    again = surform.load_model(wrapped.save_pretrained(tmp_path / "m"))
    assert again.relative
    new.scale = None
    with pytest.raises(ValueError, match="in units of the scale of each series: give it"):
        again.quantiles(new)
