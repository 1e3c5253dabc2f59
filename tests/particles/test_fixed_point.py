"""Fixed-point types against whole numbers of bits; JetFormer in them; gradients."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

import surform
from surform.data.jets_open import open_jets
from surform.particles.emulation import emulate, main
from surform.particles.fixed_jetformer import FixedJetFormer
from surform.particles.fixed_point import OVERFLOWS, ROUNDINGS, FixedPoint
from tests.particles.jet_data import jet_data, jets_path, tagger
from tests.particles.nets import particles, small_net


def literal(x: float, kind: FixedPoint) -> float:
    """In exact fractions: round, then keep the bits."""
    step = Fraction(2) ** (kind.integer - kind.width)
    scaled = Fraction(x) / step
    down, rest = math.floor(scaled), scaled - math.floor(scaled)
    half = Fraction(1, 2)
    up = {
        "AP_RND": rest >= half,
        "AP_RND_CONV": rest > half or (rest == half and down % 2 == 1),
        "AP_RND_ZERO": rest > half or (rest == half and scaled < 0),
        "AP_TRN": False,
        "AP_TRN_ZERO": scaled < 0 and rest > 0,
    }[kind.rounding]
    number, bits = down + int(up), kind.width
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind.signed else (0, 2**bits - 1)
    if not low <= number <= high:
        if kind.overflow == "AP_SAT":
            number = low if number < low else high
        elif kind.overflow == "AP_SAT_ZERO":
            number = 0
        else:
            number = (number - low) % 2**bits + low
    return float(number * step)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_numbers_are_those_of_the_bits(rounding, overflow, signed):
    x = torch.cat((torch.arange(-80, 80) / 16, torch.linspace(-9, 9, 77)))
    for width, integer in ((4, 2), (6, 3), (3, 5), (5, -1)):
        kind = FixedPoint(width, integer, rounding, overflow, signed=signed)
        wanted = torch.tensor([literal(value, kind) for value in x.tolist()])
        assert torch.equal(kind.quantize(x), wanted), kind
        assert torch.equal(kind.quantize(wanted), wanted)  # what is a number stays


def test_gradients_pass_where_nothing_is_cut():
    x = torch.tensor([-9.0, -1.3, 0.2, 3.9, 9.0], requires_grad=True)
    FixedPoint(8, 4, "AP_RND", "AP_SAT").quantize(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    x.grad = None
    FixedPoint(8, 4).quantize(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1, 1]


def test_types_are_read_and_written():
    for text in ("ap_fixed<8,3,AP_RND,AP_SAT>", "ap_ufixed<16,-2,AP_TRN,AP_WRAP>"):
        assert str(FixedPoint.parse(text)) == text
    assert FixedPoint.parse(" ap_fixed< 6 , 2 >") == FixedPoint(6, 2)
    assert FixedPoint(6, 2).bounds == (-2.0, 2 - 1 / 16)
    assert FixedPoint(6, 2, signed=False).bounds == (0.0, 4 - 1 / 16)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("masked", [False, True])
def test_with_many_bits_it_is_the_network(norm, masked):
    net = small_net(norm=norm, mask_padding=masked, activation="silu").eval()
    fixed = FixedJetFormer(**net.arguments, weight_width=24, activation_width=24).double()
    fixed.load_state_dict(net.state_dict(), strict=False)
    x, keep = particles()
    with torch.no_grad(), fixed.eval().calibrate():
        fixed(x, keep)
    difference = (fixed(x, keep) - net(x, keep)).abs().max()
    assert 0 < difference < 1e-4
    few = FixedJetFormer(**net.arguments, weight_width=4, activation_width=4).double()
    few.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad(), few.eval().calibrate():
        few(x, keep)
    assert (few(x, keep) - net(x, keep)).abs().max() > 100 * difference


def test_every_number_is_of_its_type_and_training_moves_weights(tmp_path):
    model, batch = tagger(), jet_data().samples("train")[list(range(100))]
    fixed = emulate(model, batch.particles, 8, 6)
    types = fixed.net.types()
    assert [each.width for each in types["results.logits"]] == [6] * 5
    assert [each.width for each in types["fixed.0.weights.qkv_weight"]] == [8] * 24
    assert len(types["fixed.1.shares"]) == 1
    assert not types["fixed.1.shares"][0].signed
    logits = fixed(batch.particles)
    step = torch.tensor([each.step for each in types["results.logits"]])
    assert torch.equal(logits, (logits / step).round() * step)
    before = fixed.net.blocks[0].norm.running_mean.clone()
    fixed.train()
    torch.nn.functional.cross_entropy(fixed(batch.particles), batch.targets).backward()
    moved = [n for n, p in fixed.net.named_parameters() if p.grad is not None and p.grad.any()]
    assert len(moved) > 0.8 * len(list(fixed.net.parameters()))
    assert torch.equal(fixed.net.blocks[0].norm.running_mean, before)
    fixed.eval().save_pretrained(tmp_path / "m")
    again = surform.load_model(tmp_path / "m")
    assert again.net.types() == types
    assert torch.equal(again(batch.particles), logits)


def test_what_bits_cost_is_printed(tmp_path, capsys):
    model = tagger(dim=16)
    model.save_pretrained(tmp_path / "m")
    assert main([str(tmp_path / "m"), jets_path(), "--widths", "20", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["400", "jets", "AUC", "accuracy"]
    float32, many, few = (float(line.split()[-2]) for line in lines[1:])
    assert abs(many - float32) < 2e-3
    assert abs(few - float32) > abs(many - float32)
    table = model.predict(jets_path())
    names = list(model.description.classes)
    labels = open_jets(jets_path()).labels
    right = (table["prediction"].map(names.index).to_numpy() == labels).mean()
    assert lines[1].endswith(f"{right:.2%}")
    with pytest.raises(SystemExit):
        main(["cct-digits", jets_path()])
    assert "cct-digits is no trained tagger of jets" in capsys.readouterr().err


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed<8,3>", "is no fixed-point type: expected ap_fixed<W,I>"),
        ("ap_fixed<8>", "is no fixed-point type"),
        ("ap_fixed<0,3>", "width is 0, but must be 1 to 24 bits"),
        ("ap_fixed<8,3,AP_ROUND>", "rounding is 'AP_ROUND', but must be one of"),
        ("ap_fixed<8,3,AP_RND,AP_CUT>", "overflow is 'AP_CUT', but must be one of"),
    ],
)
def test_types_that_cannot_be(text, message):
    with pytest.raises(ValueError, match=message):
        FixedPoint.parse(text)


@pytest.mark.fault
def test_what_is_not_emulated():
    jets = jet_data().samples("train")[[0, 1]].particles
    with pytest.raises(ValueError, match="norm is 'layer', which does not fold into maps"):
        emulate(tagger(norm="layer"), jets)
    with pytest.raises(ValueError, match="particles holds no jets"):
        emulate(tagger(), jets[:0])
    with pytest.raises(ValueError, match="a FixedJetFormer is not emulated"):
        emulate(emulate(tagger(), jets), jets)
