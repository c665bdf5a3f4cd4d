"""What a person reads of a released model, made of its model.json."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from restore.ability import Ability
from restore.config.command import conf

# Metrics that a card names, where they were measured.
_ANSWERS = ("original_label_share", "hole_psnr", "psnr", "ssim")


def text(name: str, model: Mapping[str, Any], ability: Ability | None = None) -> str:
    """README.md of the folder of a model: question, setting, answer, command, seconds, terms.

    ability: what the model can be asked for; None for one that restores no images.
    """
    record, config = model.get("record") or {}, model["config"]
    training = record.get("training", {})
    overrides = record.get("overrides") or [f"experiment={model['experiment']}"]
    measured = record.get("evaluation", []), model.get("check", {})
    lines = [
        f"# {name}",
        f"- Question: {_question(model['experiment'])}",
        f"- Setting: {_setting(config, training, model)}",
        f"- Answer: {_answer(*measured)}",
        f"- Command: `python train.py {' '.join(map(shlex.quote, overrides))}`",
        f"- Seconds: {_cost(record, training)}",
        *_start(record.get("init")),
        f"- Use: {_use(name, _benchmark(*measured), ability) if ability else _init(name, model)}",
        f"- File: {model['parameters']} parameters as {model['weights']}, {model['bytes']} bytes, "
        f"SHA-256 {model['sha256']}{_loss(model.get('check', {}))}",
        f"- Data: {_terms(model['data'])}",
        f"- Licence of the weights: {model['licence']}",
    ]
    return "\n".join(lines) + "\n"


def _start(init: Mapping[str, Any] | None) -> list[str]:
    """The line about the weights that a training began with; none where it began from nothing."""
    if init is None:
        return []
    return [
        f"- Start: weights of {init['experiment']} after {init['updates']} updates "
        f"({init['checkpoint']}; a later release of that name is another one); updates and seconds "
        "are those since"
    ]


def _use(name: str, benchmark: str, ability: Ability) -> str:
    words = ["restore predict", name, "PHOTO -o DIR"]
    words += ["--mask MASK"] if ability.fills_holes else []
    words += ["--strength 0.5"] if ability.needs_strength else []
    words += ["--sigma LEVEL"] if ability.needs_sigma else []
    asked = " ".join(words)
    return f"`{asked}`, `python evaluate.py checkpoint={name} benchmark={benchmark}`"


def _init(name: str, model: Mapping[str, Any]) -> str:
    start = f"`python train.py experiment={model['experiment']} init.path={name}`"
    return f"it restores no images; {start} starts a training from its weights"


def _question(experiment: str) -> str:
    """The first comment of the experiment's config."""
    path = conf() / "experiment" / f"{experiment}.yaml"
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    said = re.search(r"^# (?!@package)((?:.*\n)(?:# .*\n)*)", written, re.MULTILINE)
    return " ".join(said[1].replace("\n# ", " ").split()) if said else "not stated."


def _setting(config: Mapping[str, Any], training: Mapping[str, Any], model: Any) -> str:
    task = config["task"]
    network = task.get("network") or {}
    names = [str(node["_target_"]).rpartition(".")[2] for node in (task, network) if node]
    played = "with an adversary" if task.get("adversary") else "without an adversary"
    updates = training.get("updates", model["progress"]["updates"])
    size = config["data"]["batch_size"] * (task.get("accumulate") or 1)
    return f"{names[0]} of {names[-1]}, {played}, {updates} updates of {size} images"


def _answer(evaluation: Any, checked: Mapping[str, Any]) -> str:
    """What was measured at the end of the training, or else by the check of its export."""
    found = []
    for one in evaluation:
        told = [f"{key} {one['metrics'][key]:.4g}" for key in _ANSWERS if key in one["metrics"]]
        told += [f"{k} {v:.4g}" for k, v in one["metrics"].items() if k.startswith("fid")]
        found.append(f"{one['benchmark']} (n = {one['n']}): {', '.join(told)}")
    later = [f"{name}: {one['metric']} {one['value']:.4g}" for name, one in checked.items()]
    return "; ".join(found or later) or "not measured on a benchmark"


def _benchmark(evaluation: Any, checked: Mapping[str, Any]) -> str:
    measured = [str(one["benchmark"]) for one in evaluation]
    return [*measured, *checked, "NAME"][0]


def _cost(record: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    if not training:
        return "not recorded"
    return f"{training['seconds']:.0f} of training on {record['device']}"


def _terms(data: Mapping[str, str]) -> str:
    """Of each data set, which is named as its folder or as its class."""
    return "; ".join(f"{_data_name(key)}: {one}" for key, one in data.items())


def _data_name(key: str) -> str:
    if key.startswith("restore."):
        return key.rpartition(".")[2]
    return "photos of one's own" if key == "." else key


def _loss(check: Mapping[str, Any]) -> str:
    # adding 0 takes the sign from a zero
    losses = [f"{round(one['lost_db'], 4) + 0:.4f} dB on {name}" for name, one in check.items()]
    if not losses:
        return ""
    source = next(iter(check.values())).get("source")
    against = "float32" if source is None else f"the {source} weights that it was made of"
    return f"; against {against} it costs {', '.join(losses)}"
