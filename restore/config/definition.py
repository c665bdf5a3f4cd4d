"""Where a name is defined, as the source text of modules tells: nothing is imported."""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

DEPTH = 8  # imports, base classes and aliases that are followed


def public(module: str) -> list[str]:
    """The classes and functions that a module defines for others, in their order."""
    return [
        name
        for name, node in _tree(module).items()
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not name.startswith("_")
    ]


def file_of(module: str) -> Path | None:
    """The file of a module; the packages on the way are not imported."""
    root, *parts = module.split(".")
    spec = _spec(root)
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder).joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    alone = not parts and spec.origin is not None and spec.origin.endswith(".py")
    return Path(str(spec.origin)) if alone else None


def _spec(root: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None


def beside(module: str, without: tuple[str, ...] = ()) -> dict[str, Path]:
    """The files of a module and of all that it imports of its own top-level package, or of others
    in the same folder, by their names; imports are followed, wherever in a file they stand.

    without: top-level packages that are left out. Of installed packages only a module's own counts.
    """
    root, found, waiting = module.partition(".")[0], dict[str, Path](), [module]
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        for other in _imports(name, path):
            top = other.partition(".")[0]
            if top == root or (top not in without and _is_beside(root, top)):
                waiting.append(other)
    return found


def _imports(module: str, path: Path) -> Iterator[str]:
    """What a file may import: of `from a import b` both a and a.b, which may be a module."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # its import will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = _absolute(module, path.name == "__init__.py", node)
            yield home
            yield from (f"{home}.{one.name}" for one in node.names)


def _is_beside(root: str, other: str) -> bool:
    """Whether two top-level packages lie in one folder that is not that of installed ones."""
    home = _home(root)
    return home is not None and home == _home(other) and not home.name.endswith("-packages")


def _home(root: str) -> Path | None:
    """The folder that holds a top-level package or module."""
    spec = _spec(root)
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        return None
    return Path(next(iter(spec.submodule_search_locations or [str(spec.origin)]))).parent


@functools.cache
def _tree(module: str) -> dict[str, ast.AST]:
    """What the top level of a module defines or imports, by name."""
    path = file_of(module)
    if path is None:
        return {}
    names: dict[str, ast.AST] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            home = _absolute(module, path.name == "__init__.py", node)
            source = ast.ImportFrom(module=home, names=node.names, level=0)
            names |= {one.asname or one.name: source for one in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = node.value
    return names


def _absolute(module: str, is_package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if is_package else node.level
    base = parts[: len(parts) - up]
    return ".".join([*base, *([node.module] if node.module else [])])


def find(module: str, name: str, depth: int = 0) -> tuple[str, ast.AST] | None:
    """The module that defines a name, and its node; imports are followed."""
    node = _tree(module).get(name)
    if node is None or depth > DEPTH:
        return None
    if not isinstance(node, ast.ImportFrom):
        return module, node
    original = next(one.name for one in node.names if (one.asname or one.name) == name)
    return find(node.module or "", original, depth + 1)
