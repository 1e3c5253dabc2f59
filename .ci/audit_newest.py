"""Known faults of installed packages whose newest version is installed, by PyPI's page of each.

For indexes that answer for packages, not for their older versions, as pip-audit would ask.
usage: python audit_newest.py FILE, lines NAME==VERSION; exit code 1 for findings.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path


def faults(line: str) -> tuple[str, list[str]]:
    """What is known of one package: "newest", "older" or "unknown", and a line for each fault."""
    name, _, version = line.partition("==")
    try:
        with urllib.request.urlopen(f"https://pypi.org/pypi/{name}/json", timeout=20) as answer:
            about = json.load(answer)
        newest, listed = about["info"]["version"], about["vulnerabilities"]
    except (OSError, HTTPException, ValueError, KeyError):  # an index may leave faults out
        return "unknown", []
    if newest != version:
        return "older", []
    found = [fault for fault in listed if not fault.get("withdrawn")]
    mended = (", ".join(fault["fixed_in"]) or "no version" for fault in found)
    return "newest", [
        f"audit: {name} {version}: {fault['id']}, mended in {versions}"
        for fault, versions in zip(found, mended, strict=True)
    ]


def main() -> int:
    lines = Path(sys.argv[1]).read_text().split()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(faults, lines))
    told = [text for _, texts in answers for text in texts]
    counts = {kind: sum(kind == k for k, _ in answers) for kind in ("newest", "older", "unknown")}
    print(*told, sep="\n", end="\n" if told else "")
    print(
        f"audit: {len(told)} known faults in the {counts['newest']} of {len(lines)} packages whose "
        f"newest version is installed; {counts['older']} are older and {counts['unknown']} did not "
        "answer, both not audited"
    )
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
