"""`restore show`: the first samples as training will see them, and what its data are.

Importing this module must stay instant.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import DONE
from restore.folder import check_output
from restore.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from restore.data.module import DataModule
    from restore.types import Batch

Config = dict[str, Any]
ABOUT = "what a training will see: its first samples as a picture, holes, noise, sizes"
EXAMPLES = """examples:
  restore show experiment=inpaint_photos
  restore show experiment=denoise_any data=folder data.root=photos degradation=noise_any
  restore show experiment=colorize_photos data.augment=[RandomGrayscale] -o grey.png"""
SHOWN = 16
LOOKED_AT = 64  # validation images whose holes and noise are told
_HEADERS = 1000  # files of a split whose sizes are told


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="as of train.py")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="PNG; default: show_EXPERIMENT.png"
    )
    parser.set_defaults(command=lambda given: show(given.overrides, given.output))


def show(overrides: Sequence[str], output: Path | None = None) -> int:
    """Writes the picture of `first` and prints photos by split, sizes, holes and noise.

    overrides: a training's command line.

    Raises InputError, before anything is written, for what the training would refuse of its data.
    """
    from restore.config import command, rules
    from restore.config.compose import composed
    from restore.data.survey import lines
    from restore.picture import save, sheet

    path = output or Path(f"show_{_experiment(overrides)}.png")
    _check(path)
    config = composed("train", command.spell([*overrides]))
    rules.check_run(config)
    data = open_data(config)
    samples = list(islice(first(data, config), SHOWN))
    for line in (*lines(data.summary("train", "val")), *_sizes(data), *_damage(data, samples)):
        print(line, flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = sheet([(_images(one), _words(one)) for one in samples], _titles(samples[0]))
        save(made, path)
    except OSError as error:
        raise InputError(f"-o {path} cannot be written: {error}") from error
    print(f"samples, as training will see them: {path}")
    return DONE


def _check(path: Path) -> None:
    """Raises InputError, before data are read, where no picture can be written."""
    from restore.picture import kind_of

    if path.is_dir():
        raise InputError(f"-o {path} is a folder: name a file in it")
    check_output(path, path.parent)
    kind_of(path)


def _experiment(overrides: Sequence[str]) -> str:
    named = [one.partition("=")[2] for one in overrides if one.startswith("experiment=")]
    return (named or ["ddpm_digits"])[-1].replace("/", "_")


def open_data(config: Config) -> "DataModule":
    """The data of a training, checked as it checks them."""
    from restore.build import build
    from restore.config.trust import Trust

    data: DataModule = build(config["data"], "data", trust=Trust.of(config))
    data.check("train", "val")
    return data


def first(data: "DataModule", config: Config) -> Iterator["Batch"]:
    """The samples of a training one by one, in the order of its epochs, as batches of one.

    Of several processes all samples of an update come together, as one process would see them.
    Where a degradation changes with the updates, it is that of the sample's own update.
    """
    from restore.degradation.composition import Curriculum
    from restore.picture import select

    changes = isinstance(data.degradation, Curriculum)
    updates = _updates(data, config) if changes else count()
    for raw in _loaded(data, config["trainer"]):
        batch = data.to_batch(raw, next(updates))
        yield from (select(batch, [place]) for place in range(len(batch["index"])))


def _loaded(data: "DataModule", trainer: Config) -> Iterator[Any]:
    """What the loader gives, epoch after epoch."""
    from restore.data.split import collate

    samples, same = data.samples("train"), trainer.get("overfit_batches", 0)
    for epoch in count():
        if same:  # Lightning reads the first batches in order, again and again
            size = data.batch_size
            batches = _limit(same, len(samples) // size)
            for k in range(batches):
                yield collate([samples[index] for index in range(k * size, (k + 1) * size)])
        else:
            data.go_to(epoch, 0)
            loader = data.train_dataloader()
            batches = _limit(trainer.get("limit_train_batches"), len(loader))
            yield from islice(loader, batches)
        if batches < 1:
            raise InputError("the trainer's limits leave no batch of an epoch: raise them")


def _limit(limit: int | float | None, batches: int) -> int:
    """Batches of an epoch by Lightning's limit: a number of them, or a share."""
    if limit is None:
        return batches
    return min(limit, batches) if isinstance(limit, int) else int(batches * limit)


def _updates(data: "DataModule", config: Config) -> Iterator[int]:
    """Updates of the network before each batch of a training."""
    from restore.build import build
    from restore.config.trust import Trust

    task = build(config["task"], "task", trust=Trust.of(config), facts=data.facts)
    adversary, updates = getattr(task, "adversary", None), 0
    for batch in count():
        yield updates
        window, rest = divmod(batch, task.accumulate)
        turn = adversary is None or adversary.turns(window, updates)[0]
        updates += turn and rest == task.accumulate - 1


def _sizes(data: "DataModule") -> Iterator[str]:
    """A line a split of files: their smallest, median and largest size, by their headers."""
    from restore.data.survey import header_sizes

    for split in ("train", "val"):
        samples = data.samples(split)
        number = min(samples.num_photos, _HEADERS)
        sizes = [(one[2], one[1]) for one in header_sizes(samples.source, number)]
        if sizes:
            sizes.sort(key=lambda size: size[0] * size[1])
            named = [f"{w}x{h}" for w, h in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
            yield f"{split} photos: {named[0]} to {named[2]}, median {named[1]} ({len(sizes)} read)"


def _damage(data: "DataModule", train: list["Batch"]) -> Iterator[str]:
    """Lines about what the degradation does: to the samples shown, and to validation."""
    val = data.samples("val")
    keys = [(index, data.seed * 2**32 + index) for index in range(min(len(val), LOOKED_AT))]
    seen = {"train": train, "val": [data.to_batch(val[key]) for key in keys]}
    for split, batches in seen.items():
        sides = sorted({tuple(one["target"].shape[-2:]) for one in batches})
        told = [f"{w}x{h}" for h, w in (sides if len(sides) == 1 else (sides[0], sides[-1]))]
        yield f"{split} samples: {' to '.join(told)} ({len(batches)} looked at)"
        for what, unit, values in (
            ("hole", " %", [100 * float(one["hole"].mean()) for one in batches if "hole" in one]),
            ("sigma", " of 255", [_sigma(one) for one in batches if "sigma" in one]),
            ("input PSNR", " dB", [value for one in batches for value in _psnr(one)]),
        ):
            if values:
                mean = sum(values) / len(values)
                ends = f"{min(values):.1f} to {max(values):.1f}{unit}"
                yield f"{split} {what}: {ends}, mean {mean:.1f}"


def _sigma(batch: "Batch") -> float:
    return float(batch["sigma"][0]) * 127.5


def _psnr(batch: "Batch") -> list[float]:
    """In dB, of an input that has the channels of its target, where anything differs."""
    from restore.metric.psnr import psnr_from_mse

    if batch["input"].shape != batch["target"].shape or "hole" in batch:
        return []
    error = (batch["input"] - batch["target"]).double().square().mean() / 4  # in units of [0, 1]
    return [float(psnr_from_mse(error))] if error else []


def _images(batch: "Batch") -> "Tensor":
    """[N, C, H, W]: the mask, the input and the target of one sample."""
    from restore.picture import panel

    return panel(batch, batch["target"][:, None][:, :0])[0]


def _titles(batch: "Batch") -> list[str]:
    from restore.picture import titles

    return titles(batch, 0)


def _words(batch: "Batch") -> str:
    """What stands below a sample."""
    words = [batch["name"][0]]
    if "hole" in batch:
        words.append(f"hole {100 * float(batch['hole'].mean()):.0f} %")
    if "sigma" in batch:
        words.append(f"sigma {_sigma(batch):.1f}")
    if "label" in batch:
        words.append(f"class {int(batch['label'][0])}")
    return ", ".join(words)
