"""What a run prints at its end: the command that measures its checkpoint again, or trains more."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from restore.config.command import conf, paste, spelled
from restore.config.naming import own_code
from restore.evaluation.method import baseline_to_beat
from restore.training.run import Run

_INHERITING = "folder"  # the benchmark that takes photos and degradation from the training's data
# What its data has in an evaluation.
_EVALUATED = {
    "source.folder": ".",
    "source.mode": "rgb",
    "source.val_fraction": 1.0,
    "on_error": "error",
}


def arguments(run: Run, checkpoint: Path) -> list[str]:
    """Of evaluate.py, for a shell: this checkpoint on the same benchmarks, settings of theirs
    included."""
    names = [benchmark.name for benchmark in run.benchmarks]
    own = [one for one in run.overrides if re.match(r"[+~]*([\w/]+@)?benchmark\.", one)]
    given = {one.partition("=")[0].lstrip("+") for one in own}
    roots = {
        f"benchmark.{name}.data.root": run.config["benchmark"][name]["data"].get("root")
        for name in names
    }
    return [
        paste("checkpoint", str(checkpoint)),
        f"baseline={baseline_to_beat(run.sample)}",
        paste("benchmark", *names, many=True),
        *own_code({key: run.config.get(key) for key in ("packages", "task")}),
        *own_configs(run),
        *map(shlex.quote, own),
        *(paste(key, str(root)) for key, root in roots.items() if root and key not in given),
        *(inherited(run.config["benchmark"][_INHERITING], given) if _INHERITING in names else ()),
    ]


def other_seeds(run: Run) -> list[str]:
    """Of train.py, for a shell: the same training, settings of the command line included."""
    chosen = re.compile(r"[+~]*(experiment|seed|resume)\b")
    own = [shlex.quote(one) for one in run.overrides if not chosen.match(one)]
    return [f"experiment={run.experiment}", *own, *own_configs(run), "seed=1,2,3"]


def inherited(node: dict[str, Any], given: set[str]) -> list[str]:
    """Arguments for what an evaluation cannot take from a training's data.

    node: the benchmark `folder` of a run; given: keys that are named already.
    """
    data, at = node["data"], f"benchmark.{_INHERITING}.data"
    flat = {**{f"source.{key}": value for key, value in data["source"].items()}, **data}
    own = {
        f"{at}.{key}={spelled(flat[key])}"
        for key, value in _EVALUATED.items()
        if flat.get(key, value) != value and f"{at}.{key}" not in given
    }
    key = f"{at}.degradation"
    if any(one == key or one.endswith(f"@{key}") for one in given):
        return [*map(shlex.quote, sorted(own))]
    name = _leaf(data["degradation"])
    named = f"+degradation@{key}={name}" if name else f"{key}={spelled(data['degradation'])}"
    return [*map(shlex.quote, sorted(own)), shlex.quote(named)]


def _leaf(node: Any) -> str | None:
    """The file of conf/degradation/ that says exactly this."""
    for path in sorted((conf() / "degradation").glob("*.yaml")):
        if yaml.safe_load(path.read_text(encoding="utf-8")) == node:
            return path.stem
    return None


def own_configs(run: Run) -> list[str]:
    """The argument that names the folders of the user's own configs again, for a shell."""
    path = run.folder / ".hydra" / "hydra.yaml"
    stored = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    places = stored.get("hydra", {}).get("searchpath") or []
    return [paste("hydra.searchpath", *places, many=True)] if places else []
