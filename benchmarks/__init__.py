"""Speed, memory and accuracy, side by side with the literal code and with peers: `make bench`."""

from pathlib import Path

__all__ = ["RESULTS"]

RESULTS = Path(__file__).parent / "results"
