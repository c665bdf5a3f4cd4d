"""What a person reads of a released model, made of its model.json."""

from collections.abc import Mapping
from typing import Any

from restore.ability import Ability
from restore.evaluation import trainings


def text(name: str, model: Mapping[str, Any], ability: Ability | None = None) -> str:
    """README.md of the folder of a model: question, setting, answer, command, seconds, terms.

    ability: what the model can be asked for; None for one that restores no images.
    """
    record, config = model.get("record") or {}, model["config"]
    checked = model.get("check", {})
    setting = _setting(config, record.get("training", {}), model)
    later = [f"{name}: {one['metric']} {one['value']:.4g}" for name, one in checked.items()]
    answer = "; ".join(later) or trainings.NOT_MEASURED
    use = _use(name, _benchmark(record, checked), ability) if ability else _init(name, model)
    lines = [
        *trainings.told(name, model["experiment"], record, setting, answer),
        f"- Use: {use}",
        f"- File: {model['parameters']} parameters as {model['weights']}, {model['bytes']} bytes, "
        f"SHA-256 {model['sha256']}{_loss(checked)}",
        f"- Data: {_terms(model['data'])}",
        f"- Licence of the weights: {model['licence']}",
    ]
    return "\n".join(lines) + "\n"


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


def _setting(config: Mapping[str, Any], training: Mapping[str, Any], model: Any) -> str:
    task = config["task"]
    network = task.get("network") or {}
    names = [str(node["_target_"]).rpartition(".")[2] for node in (task, network) if node]
    played = "with an adversary" if task.get("adversary") else "without an adversary"
    updates = training.get("updates", model["progress"]["updates"])
    size = config["data"]["batch_size"] * (task.get("accumulate") or 1)
    return f"{names[0]} of {names[-1]}, {played}, {updates} updates of {size} images"


def _benchmark(record: Mapping[str, Any], checked: Mapping[str, Any]) -> str:
    measured = [str(one["benchmark"]) for one in record.get("evaluation", [])]
    return [*measured, *checked, "NAME"][0]


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
