"""What the benchmarks count: fewest operations, added memory, and where numbers were taken."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from surform import attention
from surform.bench.flops import minimal_flops
from surform.bench.measure import peak_memory, save
from surform.registry import create_model

SMALL = {"dim": 12, "depth": 2, "heads": 2}
GALERKIN = SMALL | {"attention": "galerkin", "decoder": "pointwise"}
FACTFORMER = {"dim": 16, "depth": 2, "heads": 2, "head_dim": 8}
IFACTFORMER = FACTFORMER | {"in_channels": 1, "iterations": 4, "release": "first"}
CASES = [
    ("galerkin1d", GALERKIN, (20,), ()),
    ("galerkin2d", GALERKIN | {"coarse_size": 6}, (20, 17), ()),
    ("factformer2d_steady", FACTFORMER, (12, 10), ()),
    ("factformer2d", FACTFORMER | {"input_steps": 3, "max_steps": 2}, (12, 10), (3,)),
    ("ifactformer", IFACTFORMER, (12, 10, 8), (1,)),
    ("ifactformer", IFACTFORMER | {"mixing": "chained"}, (12, 10, 8), (1,)),
]


@pytest.mark.parametrize(("name", "arguments", "grid", "frames"), CASES, ids=[c[0] for c in CASES])
def test_minimal_operations_are_those_of_the_plain_products(name, arguments, grid, frames):
    net = create_model(name, **arguments)
    u = torch.randn(2, *frames, *grid, 1, dtype=torch.float32)
    coordinates = tuple(torch.linspace(0, 1, n) for n in grid)
    with (
        FlopCounterMode(display=False) as counter,
        attention.use("reference"),
    ):
        net(u, coordinates)
    found = minimal_flops(net, 2, grid)
    assert found == pytest.approx(
        counter.get_total_flops(), rel=0.15 if frames or "fact" in name else 0
    )


def test_fourier_attention_is_counted_in_the_cheaper_order():
    fourier, galerkin = (
        minimal_flops(create_model("galerkin1d", **SMALL, attention=kind), 1, (512,))
        for kind in ("fourier", "galerkin")
    )
    assert fourier == galerkin


def test_memory_is_measured_without_packages_beside_the_base_ones():
    program = (
        "import sys\nsys.modules['psutil'] = None\ndef run():\n    import time\n"
        "    x = bytearray(b'1') * 50_000_000\n    time.sleep(0.1)\n"
    )
    assert 45 < peak_memory(program) < 80
    with pytest.raises(OSError, match="ZeroDivisionError"):
        peak_memory("def run():\n    1 / 0\n")


def test_results_say_where_they_were_taken(tmp_path):
    found = json.loads(save(tmp_path / "rows.json", [{"a": 1}]).read_text())
    assert found["rows"] == [{"a": 1}]
    commit = found["machine"]["commit"]
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
