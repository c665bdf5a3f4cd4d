"""A name has one meaning, and files and functions stay small enough to be read in one go."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from entry import ROOT

FILE, FUNCTION = 250, 30  # lines at most; of a function those behind its signature and docstring
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "restore").rglob("*.py"))
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def ambiguous(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of classes that several places define, with these places."""
    places = defaultdict(list)
    for file, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


def num_lines(function: Function) -> int:
    """Lines of the body. Signature and docstring do not count: they grow with what they tell."""
    first = function.body[ast.get_docstring(function) is not None :] or function.body
    return (function.end_lineno or 0) - first[0].lineno + 1


def long_functions(sources: Mapping[str, str]) -> Iterator[str]:
    for file, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function) and num_lines(node) > FUNCTION:
                yield f"{file}:{node.lineno} {node.name} has {num_lines(node)} lines"


def test_a_class_name_has_one_meaning() -> None:
    assert ambiguous(SOURCES) == {}


def test_no_file_is_long() -> None:
    lengths = {file: len(text.splitlines()) for file, text in SOURCES.items()}
    assert {file: length for file, length in lengths.items() if length > FILE} == {}


def test_no_function_is_long() -> None:
    assert list(long_functions(SOURCES)) == []


def test_what_breaks_the_rules_is_found() -> None:
    two = {"a.py": "class Point: ...", "b.py": "def f():\n    class Point: ..."}
    assert ambiguous(two) == {"Point": ["a.py:1", "b.py:2"]}
    lines = "    x = 1\n" * FUNCTION
    signature = 'def f(\n    a,\n):\n    """One\n\n    two."""\n'
    assert list(long_functions({"a.py": signature + lines})) == []
    found = list(long_functions({"a.py": signature + lines + "    return x\n"}))
    assert found == ["a.py:1 f has 31 lines"]
    assert Path(ROOT, "restore").is_dir() and len(SOURCES) > 100
