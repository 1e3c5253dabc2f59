"""Parity with official RT-1: golden cases, other cases, checkpoints and their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform.hub.convert import from_official, to_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.rt1 import SYSTEM
from surform.hub.official.rt1_parts import filled
from surform.hub.verify import find_cases, verify_case
from tests.hub.bundle_files import write_bundle
from tests.robotics.literal_rt1 import LiteralState, literal_logits

GOLDEN = Path(__file__).parents[1] / "golden" / "rt1"
LISTED = GOLDEN / "rt1main_checkpoint_keys.json"
SMALL = {
    "num_layers": 1, "num_heads": 2, "layer_size": 3, "feed_forward_size": 10, "vocab_size": 9,
    "token_embedding_size": 12, "time_sequence_length": 2, "bottleneck_dim": 5, "num_tokens": 4,
    "context_dim": 6,
}  # fmt: skip


def cases():
    """The largest network apart: only its weights take seconds to make."""
    for path in find_cases([GOLDEN]):
        marks = [pytest.mark.slow] if path.stem == "image_tokenizer_b3" else []
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("case", list(cases()))
def test_golden_cases(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


def network_case(frames, n, spec, heads=3, width=4):
    """A network of other sizes by the literal formulas, with fewer tokens of another action."""
    torch.manual_seed(0)
    order = list(spec)
    count = sum(1 if one["discrete"] else one["size"] for one in spec.values())
    given = {
        "num_layers": 2, "num_heads": heads, "layer_size": width, "feed_forward_size": 14,
        "token_embedding_size": 9, "vocab_size": 8, "time_sequence_length": frames,
        "tokens_per_image": n, "tokens_per_action": count, "action_order": order,
        "action_spec": spec,
    }  # fmt: skip
    from surform.robotics.action_transformer import ActionTransformer

    net = ActionTransformer(frames, n, count, 8, 9, 14, 2, heads, width).double().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    state = SYSTEM.to_official({f"transformer.{k}": v for k, v in net.state_dict().items()}, given)
    images = torch.randn(2, frames, n, 9).double()
    tensors = {f"param/{key}": value.detach().contiguous() for key, value in state.items()}
    tensors |= {"in/image_tokens": images, "in/rollout_image_tokens": torch.randn(4, n, 9).double()}
    for name, one in spec.items():
        values = torch.rand(2, frames, one["size"]).double() * 4 - 2
        tensors[f"in/action_{name}"] = values.round().int() if one["discrete"] else values
    with torch.no_grad():
        tensors["out/logits_all_positions"] = literal_logits(
            net, images, torch.zeros(2, frames, count, 9).double()
        )
        rolled = LiteralState(net, 1, torch.float64)
        steps = [rolled.step(one[None]) for one in tensors["in/rollout_image_tokens"]]
    tensors["out/rollout_logits"] = torch.cat([logits for logits, _ in steps])
    tensors["out/rollout_action_tokens"] = torch.cat([tokens for _, tokens in steps])
    where = Path("other.json")
    return Fixture(
        "rt1", "transformer_network", {}, given, "eval", torch.float64, 1e-9, 1e-11, where, tensors
    )


@pytest.mark.parametrize(("frames", "n"), [(2, 1), (1, 3)])
def test_networks_of_other_sizes_replay(frames, n):
    spec = {
        "grip": {"size": 2, "discrete": True, "min": 0.0, "max": 1.0},
        "reach": {"size": 2, "discrete": False, "min": -1.0, "max": 1.5},
    }
    report = verify_case(network_case(frames, n, spec))
    assert report.passed, report.problem or report.worst
    assert len(report.rows) == 3


def test_another_number_is_a_miss():
    case = network_case(2, 1, {"push": {"size": 1, "discrete": False, "min": 0.0, "max": 1.0}})
    case.tensors["out/logits_all_positions"][0, 3, 2] += 1e-6
    assert not verify_case(case).passed


@pytest.mark.parametrize(
    ("atol", "passes"), [("2e-4 * max|out|", True), ("5e-5 * max|out|", False)]
)
def test_a_tolerance_may_be_a_share_of_the_largest_number(tmp_path, atol, passes):
    values = json.loads((GOLDEN / "film.json").read_text()) | {"atol": atol, "rtol": 0}
    (tmp_path / "film.json").write_text(json.dumps(values))
    tensors = load_file(GOLDEN / "film.safetensors")
    out = tensors["out/features_bhwc"]
    out[0, 0, 0, 0] += 1e-4 * out.abs().max()
    save_file(tensors, tmp_path / "film.safetensors")
    report = verify_case(Fixture.load(tmp_path / "film.json"))
    assert report.passed == passes
    assert "max|b|" in report.rows[0].tolerance


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small actor in a TensorFlow checkpoint, an optimiser's slots beside it."""
    with torch.device("meta"):
        from surform.registry import create_model

        name, arguments = SYSTEM.arguments(SMALL)
        net = create_model(name, **arguments)
    needed = SYSTEM.to_official(net.state_dict(), SMALL)
    state = {key: filled(key, tuple(value.shape)).float() for key, value in needed.items()}
    state["_action_token_emb/kernel"] = torch.ones(9, 12)
    state["_image_tokenizer/_tokenizer/net/layer_with_weights-0/count"] = torch.ones(())
    whole = {
        f"agent/_actor_network/{key}/.ATTRIBUTES/VARIABLE_VALUE": value.contiguous()
        for key, value in state.items()
    }
    slot = "agent/_actor_network/_transformer/_token_emb/bias/.OPTIMIZER_SLOT/optimizer/m"
    whole |= {f"{slot}/.ATTRIBUTES/VARIABLE_VALUE": torch.ones(10), "global_step": torch.ones(())}
    return write_bundle(tmp_path_factory.mktemp("rt1") / "actor", whole), state


def test_a_checkpoint_tells_its_sizes_and_is_written_again(checkpoint, tmp_path):
    path, state = checkpoint
    converted = from_official(path, "rt1")
    net = converted.model.net
    given = net.arguments
    assert (given["depth"], given["heads"], given["head_dim"], given["frames"]) == (1, 2, 3, 2)
    assert (given["image_tokens"], given["bottleneck"], given["vocab_size"]) == (4, 5, 9)
    assert len(converted.accounting.dropped) == 2
    folder = to_official(converted.model, "rt1", tmp_path / "again")
    again = torch.load(folder / "weights.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[key]) for key, value in again.items())
    assert set(state) - set(again) == set(converted.accounting.dropped)
    constructor = json.loads((folder / "constructor.json").read_text())
    assert SYSTEM.arguments(constructor)[1]["head_dim"] == 3
    observation = {"image": torch.zeros(1, 3, 64, 80, dtype=torch.uint8)}
    observation["instruction"] = torch.zeros(1, 6)
    actions, _ = converted.model.act(observation, converted.model.start(1))
    assert actions.shape == (1, 1, 13)


def listing(tmp_path, change):
    values = json.loads(LISTED.read_text())
    change(values["keys"])
    (tmp_path / "listed.json").write_text(json.dumps(values))
    return verify_case(Fixture.load(tmp_path / "listed.json"))


@pytest.mark.fault
def test_a_list_of_keys_of_another_network(tmp_path):
    key = "_transformer/_layers/3/ff/kernel"
    assert "1 missing" in listing(tmp_path, lambda keys: keys.pop(key)).problem
    report = listing(tmp_path, lambda keys: keys.update({key: {"shape": [512, 3]}}))
    assert "of another shape" in report.problem
    report = listing(tmp_path, lambda keys: keys.update({"_transformer/odd": {"shape": [1]}}))
    assert "1 unknown" in report.problem


@pytest.mark.fault
def test_a_list_without_shapes_is_no_case(tmp_path):
    report = listing(tmp_path, lambda keys: keys.update({"odd": {"size": [1]}}))
    assert "no tensors beside it" in report.problem


@pytest.mark.fault
@pytest.mark.parametrize(
    ("constructor", "sentence"),
    [
        ({"layersize": 3}, "did you mean 'layer_size'"),
        ({"cls": "RT1ImageTokenizer"}, "only the whole TransformerNetwork"),
        ({"action_order": ["wave"]}, "does not say what 'wave' is"),
    ],
)
def test_constructors_that_cannot_be(constructor, sentence):
    with pytest.raises(ValueError, match=sentence):
        SYSTEM.arguments(constructor)


@pytest.mark.fault
def test_positions_of_another_action(checkpoint, tmp_path):
    _, state = checkpoint
    other = state | {"_transformer/_position_emb/kernel": torch.zeros(31, 10)}
    save_file({k: v.contiguous() for k, v in other.items()}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="31 positions are no whole number of steps"):
        from_official(tmp_path / "other.safetensors", "rt1")


@pytest.mark.fault
def test_another_encoder_is_not_written_for_the_official_code():
    from surform.registry import create_model

    with torch.device("meta"):
        net = create_model("rt1", encoder="tf_efficientnet_b0", depth=1)
    with pytest.raises(ValueError, match="the official code has tf_efficientnet_b3"):
        SYSTEM.describe(net)
