"""The shapes in the signatures of networks and attention are true: their tests pass under beartype.

In a process of its own, because modules are wrapped when they are imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Not those of torch.compile and torch.export, which cannot trace the checking wrappers, and not
# those that give wrong arguments on purpose.
PATHS = (
    "attention/test_kernels.py",
    "attention/test_keysum.py",
    "attention/test_graph.py",
    "layers",
    "operators/test_factorized_block.py",
    "hub/test_official_galerkin.py",
    "hub/test_official_factformer.py",
    "hub/test_official_ifactformer.py",
    "hub/test_official_gnot.py",
    "hub/test_official_card.py",
    "hub/test_official_pathformer.py",
    "hub/test_official_itransformer.py",
    "hub/test_official_samformer.py",
    "hub/test_official_cct.py",
    "hub/test_official_vitpose.py",
    "hub/test_official_equiformer_v2.py",
    "hub/test_official_dit_policy.py",
    "hub/test_official_hpt.py",
    "hub/test_official_rt1.py",
    "hub/test_official_dpt.py",
    "decisions/test_networks.py",
    "data/test_demonstrations.py",
    "robotics/test_policy.py",
    "hub/test_official_hiformer.py",
    "recommenders/test_feature_tables.py",
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    # the second as `surform verify` sets it, which cannot where torch has been imported
    environment = os.environ | {"SURFORM_SHAPES": "1", "MKL_CBWR": "COMPATIBLE"}
    return subprocess.run(
        [sys.executable, *words], cwd=HERE.parent, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_annotated_shapes_hold() -> None:
    paths = [str(HERE / path) for path in PATHS]
    chosen = (
        "-m",
        "not slow",
        "-k",
        "not derivatives and not wrong_arguments and not compile and not exports",
    )
    done = run("-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *chosen, *paths)
    assert done.returncode == 0, done.stdout[-4000:]


def test_wrong_shapes_would_be_found() -> None:
    code = (
        "import tests.conftest, torch\n"
        "from jaxtyping import TypeCheckError\n"
        "from surform.attention import linear\n"
        "q = torch.ones(1, 1, 3, 2)\n"
        "try:\n"
        "    linear(q, q, q.tolist())\n"
        "except TypeCheckError:\n"
        "    print('found')\n"
    )
    done = run("-c", code)
    assert done.stdout == "found\n", done.stderr
