"""What the source of a class or function says of it, read without importing it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

__all__ = ["Argument", "Source", "read_source", "read_summary"]

Definition = ast.ClassDef | ast.FunctionDef
_ELSEWHERE = re.compile(r"as (?:for|in) `(\w+)`\.?")
_OTHERS = "others"  # "others: as in `Class`" speaks for all arguments that are not named


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor or function; `default` is None when it is required."""

    name: str
    annotation: str
    default: str | None
    doc: str


@dataclass(frozen=True)
class Source:
    """A class or function: where it stands, its docstring and its arguments."""

    name: str
    file: Path
    line: int
    doc: str
    arguments: tuple[Argument, ...]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    @property
    def body(self) -> str:
        """The docstring after its first line, up to the arguments."""
        text = self.doc.partition("\n")[2]
        return re.split(r"^(?:Args|Returns|Raises|Yields):\s*$", text, flags=re.M)[0].strip()


def read_source(path: str) -> Source:
    """The source of "module:name"; FileNotFoundError or ValueError when it cannot be found.

    A meaning that says "as for `Class`" is the one given there, where the module knows that class.
    """
    source = _as_written(path)
    module = path.partition(":")[0]
    return replace(source, arguments=_looked_up(source.arguments, module))


def read_summary(path: str) -> str:
    """The first line of the docstring alone, for long lists; errors as in `read_source`."""
    module, _, name = path.partition(":")
    return (ast.get_docstring(_find(module, name)[1]) or "").partition("\n")[0]


def _as_written(path: str) -> Source:
    module, _, name = path.partition(":")
    file, definition = _find(module, name)
    doc = inspect.cleandoc(ast.get_docstring(definition) or "")
    init = _constructor(file, definition) if isinstance(definition, ast.ClassDef) else definition
    arguments = _arguments(init, doc, _aliases(file)) if init is not None else ()
    return Source(name, file, definition.lineno, doc, arguments)


def _looked_up(arguments: tuple[Argument, ...], module: str) -> tuple[Argument, ...]:
    """With the meanings of the classes that they name; those may not name others in turn."""
    asked = [_ELSEWHERE.fullmatch(argument.doc) for argument in arguments]
    meanings: dict[str, dict[str, str]] = {}
    for other in {match[1] for match in asked if match}:
        try:
            source = _as_written(f"{module}:{other}")
        except (OSError, ValueError):
            continue
        meanings[other] = {argument.name: argument.doc for argument in source.arguments}
    return tuple(
        replace(argument, doc=meanings[match[1]].get(argument.name, ""))
        if match and match[1] in meanings
        else argument
        for argument, match in zip(arguments, asked, strict=True)
    )


def _find(module: str, name: str, depth: int = 5) -> tuple[Path, Definition]:
    """The definition of a name, followed through `from x import name`."""
    file = _module_file(module)
    for node in _parse(file).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return file, node
        if isinstance(node, ast.ImportFrom) and depth > 0:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    source = _absolute(node, module, file)
                    return _find(source, alias.name, depth - 1)
    raise ValueError(f"{file} defines no {name}")


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (file.name == "__init__.py")]
    return ".".join([*parts, node.module] if node.module else parts)


def _module_file(module: str) -> Path:
    """The file of a module; only its top-level package is looked up, nothing is executed."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise FileNotFoundError(f"the package {top} is not installed")
    if not rest:
        return Path(spec.origin or "")
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    raise FileNotFoundError(f"the module {module} does not exist")


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def _constructor(file: Path, cls: ast.ClassDef, depth: int = 5) -> ast.FunctionDef | None:
    """Its `__init__`, or that of its first base that is written in the same file."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node
    bases = {base.id for base in cls.bases if isinstance(base, ast.Name)}
    for node in _parse(file).body:
        if isinstance(node, ast.ClassDef) and node.name in bases and depth > 0:
            return _constructor(file, node, depth - 1)
    return None


def _aliases(file: Path) -> dict[str, str]:
    """Type aliases of a module, so that `Attention` is shown as its choices."""
    return {
        node.targets[0].id: ast.unparse(node.value)
        for node in _parse(file).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, (ast.Subscript, ast.BinOp))
    }


def _arguments(
    function: ast.FunctionDef, doc: str, aliases: dict[str, str]
) -> tuple[Argument, ...]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    blanks: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    pairs = [*zip(positional, [*blanks, *spec.defaults], strict=True)]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    pairs = [(arg, default) for arg, default in pairs if arg.arg != "self"]
    docs = _argument_docs(doc, [*(arg.arg for arg, _ in pairs), _OTHERS])
    return tuple(
        Argument(
            name=arg.arg,
            annotation=_annotation(arg, aliases),
            default=None if default is None else ast.unparse(default),
            doc=docs.get(arg.arg, docs.get(_OTHERS, "")),
        )
        for arg, default in pairs
    )


def _annotation(arg: ast.arg, aliases: dict[str, str]) -> str:
    text = ast.unparse(arg.annotation) if arg.annotation else ""
    return re.sub(r"\b[A-Z]\w*\b", lambda match: aliases.get(match.group(), match.group()), text)


def _argument_docs(doc: str, names: list[str]) -> dict[str, str]:
    """What "Args:" says of each name; several may share an entry ("a, b: text") or a line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*(?:\n|$)|\n)+)", doc, flags=re.M)
    if section is None or not names:
        return {}
    text = " ".join(section.group(1).split())
    one = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    heads = list(
        re.finditer(rf"(?:^|(?<=[.;)] )|(?<=\s))((?:{one})(?:(?:,| and) (?:{one}))*): ", text)
    )
    docs: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        entry = text[head.end() : following.start() if following else None].strip(" ;")
        docs |= dict.fromkeys(re.split(", | and ", head.group(1)), entry)
    return docs
