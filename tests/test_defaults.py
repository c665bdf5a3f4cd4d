"""The defaults of classes are those of conf/: what a checkpoint or a line of Python leaves out
means what a config says."""

import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from entry import ROOT

SETTINGS_OF_ONE = ("experiment", "benchmark")  # groups whose files are choices among the others
# What no config leaves as its class has it: files of one's own, variants, sizes to be read by.
OPEN = {
    *(("Checkpoint", "monitor"), ("DataModule", "num_workers"), ("DataModule", "augment")),
    *(("WebDataset", "test"), ("WebDataset", "val"), ("Box", "fraction"), ("Box", "position")),
    *(("ShapeMixture", "weights"), ("Mixture", "weights"), ("Gaussian", "blind")),
    *(("Perceptual", "weight"), ("PSNR", "colored"), ("ClassicUNet", "widths")),
    *(("AutoencoderKL2D", "block_out_channels"), ("AutoencoderKL2D", "mid_block_add_attention")),
    *(("MotionBlur", "angle"), ("Luminance", "weights")),
}


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Those that name a class or a function of ours."""
    if isinstance(node, dict):
        if str(node.get("_target_")).startswith("restore."):
            yield node
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from nodes(one)


@cache
def defaults(target: str) -> dict[str, Any]:
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    found = {key: one.default for key, one in parameters.items() if one.default is not one.empty}
    return {key: list(one) if isinstance(one, tuple) else one for key, one in found.items()}


def said() -> dict[tuple[str, str], tuple[Any, list[Any]]]:
    """(class, setting) -> its default, and what the files of conf/ say."""
    values: dict[tuple[str, str], list[Any]] = defaultdict(list)
    own = {}
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        if path.parent.name in SETTINGS_OF_ONE:
            continue
        for node in nodes(yaml.safe_load(path.read_text(encoding="utf-8"))):
            for key, default in defaults(node["_target_"]).items():
                plain = not isinstance(node.get(key), dict) and "${" not in str(node.get(key))
                if key in node and plain and not repr(default).startswith("<factory>"):
                    place = node["_target_"].rpartition(".")[2], key
                    own[place] = default
                    values[place].append(node[key])
    return {place: (default, values[place]) for place, default in own.items()}


def test_a_default_is_what_a_config_says() -> None:
    found = said()
    assert len(found) > 200
    assert {place for place, (default, values) in found.items() if default not in values} == OPEN
