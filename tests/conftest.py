"""What every test shares: with SURFORM_SHAPES=1, all annotated shapes and types are checked.

Off by default, because neither torch.compile nor torch.export can trace the checking wrappers;
tests/test_shapes.py runs the tests of the networks with it.
"""

from __future__ import annotations

import os

if os.environ.get("SURFORM_SHAPES"):
    from jaxtyping import install_import_hook

    import tests.shapes  # noqa: F401, the hook looks it up by its name

    CHECKED = ("surform.attention", "surform.layers", "surform.operators", "surform.forecasting")
    CHECKED += ("surform.vision", "surform.atomistic", "surform.robotics")
    install_import_hook(CHECKED, "tests.shapes.checked")
