"""Energies and forces of SevenNet-0 through ASE, in an environment of its own; prints JSON.

Imports nothing of surform: `benchmarks.potentials` starts it with another Python.

    python sevennet_run.py '{"structure": "copper.xyz", "calls": 5}'
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import torch
from ase.io import read

warnings.filterwarnings("ignore")
WARMUP = 3  # calls in which programs are still made


def main(request):
    """CPU seconds of each call with positions that it has not seen, the first ones left out."""
    torch.set_num_threads(1)
    from sevenn.calculator import SevenNetCalculator

    atoms = read(request["structure"])
    atoms.calc = SevenNetCalculator("7net-0", device="cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shake = np.random.default_rng(0)
    seconds = []
    for _ in range(request["calls"] + WARMUP):
        atoms.positions += shake.normal(0, 0.01, atoms.positions.shape)
        start = time.process_time()
        atoms.get_forces()
        seconds.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "parameters": sum(p.numel() for p in atoms.calc.model.parameters()),
        "cutoff": float(atoms.calc.cutoff),
        "seconds": seconds[WARMUP:],
        "added_mb": (after - before) / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
