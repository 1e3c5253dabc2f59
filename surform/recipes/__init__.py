"""Recipes: YAML files, one per experiment, found by name; third parties add folders of theirs.

The entry-point group `surform.recipes` maps a name to a package whose folder holds YAML files:
`mine = my_package.recipes` makes `my_package/recipes/small.yaml` the recipe `mine/small`.
"""

from __future__ import annotations

import difflib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path

__all__ = ["find_recipe", "list_recipes"]

_SUFFIXES = (".yaml", ".yml")


def list_recipes() -> dict[str, Path]:
    """All recipes, name -> file, sorted; built-in ones win over third parties."""
    found = _in_folder(Path(__file__).parent, "")
    for point in entry_points(group="surform.recipes"):
        for folder in _folders(point.value.partition(":")[0]):
            found = _in_folder(folder, f"{point.name}/") | found
    return dict(sorted(found.items()))


def find_recipe(name: str) -> Path:
    """The file of a recipe, by name ("forecasting/own-csv", "own-csv") or by path.

    Raises:
        FileNotFoundError: neither a file nor a recipe; names the closest recipes.
        ValueError: the short name fits several recipes.
    """
    if name.endswith(_SUFFIXES):
        if Path(name).is_file():
            return Path(name)
        raise FileNotFoundError(f"there is no configuration file {name}")
    recipes = list_recipes()
    if name in recipes:
        return recipes[name]
    same = [full for full in recipes if full.rpartition("/")[2] == name]
    if len(same) > 1:
        raise ValueError(f"recipe {name!r} could be {' or '.join(same)}: give the full name")
    if same:
        return recipes[same[0]]
    endings = {full.rpartition("/")[2]: full for full in recipes}
    if not recipes:
        raise FileNotFoundError(f"there is no recipe {name!r}: there are none installed")
    near = difflib.get_close_matches(name, [*recipes, *endings], n=3, cutoff=0.4)
    shown = ", ".join(dict.fromkeys(endings.get(n, n) for n in near))
    hint = f"did you mean {shown}? " if near else ""
    hint += "`surform list recipes` shows every name"
    raise FileNotFoundError(f"there is no recipe {name!r}: {hint}")


def _in_folder(folder: Path, prefix: str) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    return {prefix + path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def _folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    return [Path(place) for place in spec.submodule_search_locations or ()]
