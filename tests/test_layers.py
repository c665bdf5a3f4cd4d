"""Imports point down one list, from folder to folder and from file to file; few know Hydra."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from entry import ROOT

LAYERS = (
    {"train", "evaluate"},
    {"main", "cli", "words"},
    {"app"},
    {
        "new",
        "predict",
        "prediction",
        "export",
        "asking",
        "averaging",
        "describe",
        "flickering",
        "listing",
        "parting",
        "preview",
        "sharding",
    },
    {"chain", "generation", "job", "photos", "shelf"},
    {"sweep"},
    {"training"},
    {"api", "ability"},
    {"evaluation"},
    {"tracking", "trainer"},
    {"busy"},
    {"workers"},
    {"precision"},
    {"task"},
    {"recovery"},
    {"callback"},
    {"data"},
    {"diffusion"},
    {"degradation"},
    {"loss", "metric", "network"},
    {"ensemble"},
    {"tiling"},
    {"build"},
    {"zoo"},
    {"bundle", "checkpoint", "diffusers_folder"},
    {"diffusers_json"},
    {"released"},
    {"content"},
    {"config"},
    {"launch"},
    {"picture"},
    {"folder"},
    {"errors"},
    {"image", "stream"},
    {"run_files"},
    {"types", "columns", "collector", "fellows", "hashing"},
)
COMPOSE = {"main", "sweep", "build", "config"}  # who may know Hydra and OmegaConf
ENTRIES = [ROOT / "train.py", ROOT / "evaluate.py"]
MODULES = [*sorted((ROOT / "restore").rglob("*.py")), *ENTRIES]


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(package: str) -> int:
    return next(i for i, packages in enumerate(LAYERS) if package in packages)


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if path in ENTRIES else parts[1]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "restore" and parts[1] not in (package, "__version__"):
            assert layer(parts[1]) >= layer(package), f"{path} imports {name}"
        if package not in COMPOSE:
            assert parts[0] not in ("hydra", "omegaconf"), f"{path} imports {name}"


def test_no_circle_between_modules() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    edges = {
        name: {
            module
            for target in imported(path)
            for module in (target, target.rpartition(".")[0])
            if module in names and module != name
        }
        for name, path in names.items()
    }
    while edges:  # takes away what depends on nothing that is left
        free = {name for name, targets in edges.items() if not targets & edges.keys()}
        assert free, f"a circle among {sorted(edges)}"
        edges = {name: targets for name, targets in edges.items() if name not in free}


def test_nothing_is_imported_by_a_name_that_is_computed() -> None:
    """The tests above do not see such an import; only config and optional packages need it."""
    for path in MODULES:
        tree = ast.walk(ast.parse(path.read_text()))
        names = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
        found = names & {"importlib.import_module", "import_module", "__import__"}
        assert not found or path.name in ("target.py", "noise_filter.py"), path


def test_no_file_is_unpickled_without_protection() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "weights_only":
                assert isinstance(node.value, ast.Constant) and node.value.value is True, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only" in {keyword.arg for keyword in node.keywords}, path


def test_command_line_starts_without_torch() -> None:
    code = "import sys, restore.cli; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
