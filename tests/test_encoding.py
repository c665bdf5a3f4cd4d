"""Text is UTF-8 in every file, and a terminal that is no UTF-8 ends nothing."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from entry import ROOT

MODULES = [*sorted((ROOT / "restore").rglob("*.py")), ROOT / "train.py", ROOT / "evaluate.py"]
# whose open reads no text
BINARY = {"os", "Image", "tarfile", "gzip", "archive", "self._desk"}


def locale_bound(source: str) -> Iterator[str]:
    """Calls that read or write text in the encoding of the machine."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        given = {one.arg for one in node.keywords}
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
        values = [one.value for one in node.args if isinstance(one, ast.Constant)]
        modes = [one for one in values if isinstance(one, str) and len(one) < 4 and "b" in one]
        packaged = owner.startswith("importlib.metadata.")  # reads as UTF-8 always
        reads = (name in ("read_text", "write_text") and not packaged) or "text" in given
        opens = name == "open" and owner not in BINARY and not modes
        if (reads or opens) and "encoding" not in given:
            yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_utf8_wherever_it_is_read_or_written(path: Path) -> None:
    assert not list(locale_bound(path.read_text(encoding="utf-8")))


def test_the_test_sees_what_it_looks_for() -> None:
    assert list(locale_bound("open('a')\np.open('w')\np.read_text()\nrun(x, text=True)"))
    assert not list(locale_bound("open('a', 'rb')\np.read_text(encoding='utf-8')\nImage.open(p)"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_is_printed_never_decides_over_success(encoding: str) -> None:
    code = (
        "import sys\nfrom restore import errors\n"
        "def main():\n    print('psnr \\u2191')\n    print('\\u2191', file=sys.stderr)\n"
        "errors.run(main)\n"
    )
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"psnr ?\n", b"?\n")
