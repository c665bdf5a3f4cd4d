"""What constructors refuse is said before anything is imported, in their own words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT

from restore.build import build
from restore.config import refusal
from restore.config.signature import check_early
from restore.types import InputError

SOURCE = """
import math
from dataclasses import dataclass
from refusing.helper import Far, least, most

MOST = 2**3

class Base:
    def __init__(self, size=1, *, depth=1):
        if not 1 <= size < math.inf: raise ValueError(f"{size=} is no size")
        if depth > MOST:
            raise ValueError(f"depth {depth:.1f} is above {MOST}")

class Child(Base):
    def __init__(self, size, pair=(0.5, 0.5), name="a", other=None, part=None, **rest):
        if isinstance(size, str):
            size = 5
        super().__init__(size, **rest)
        least(0, first=pair[0])
        first, second = pair
        if second is not None and second < first: raise ValueError(f"{second!r} below {first!r}")
        if name.startswith("b") or other == 3: raise ValueError(f"name {name}")
        self.made = self.make(part)

    def make(self, part):
        return part

class Maker(Child):
    def make(self, part):
        return part(width=3)

class Unsure(Base):
    def __init__(self, size=1, when=0):
        when = clock()
        if when > 1: raise ValueError("late")
        try:
            if size == 7: raise ValueError("seven")
        except ValueError:
            size = 1
        if size == 7: raise ValueError("seven again")

class Vague:
    def __init__(self, size=1):
        if size == 8: raise KeyError("eight")
        if size == 9: raise ValueError(clock())
        if clock():
            return
        if size > 9: raise ValueError(f"{size} is above 9")

class Fine:
    def __init__(self, parts=(), size=1, min=None):
        if clock() and size == 1: raise ValueError("only at some times")
        if isinstance(parts[0], dict): raise TypeError("what will be an object is no dict")
        several(1, 2, 3)
        pair(*parts)
        if min(size, 2) > 0: raise ValueError("another min")

def pair(first, second=0):
    if second < 1: raise ValueError(f"{second=} is none")

def several(first, *others, least=0):
    if first < least or not others: raise ValueError(f"{first} is below {least}")

class Grows:
    def __init__(self, sizes=(1,)):
        self.count = self.made = 0
        self.blocks, names = [], []
        for size in sizes:
            self.blocks.append(size)
            self.add(size)
        names.append(1)
        pair = (self.make(), 1)
        if not self.blocks: raise ValueError("no blocks")
        if not names: raise ValueError("no names")
        if self.count < 1: raise ValueError("nothing was added")
        if self.made < 1: raise ValueError("nothing was made")

    def add(self, size):
        self.count = self.count + size

    def make(self):
        self.made = 1

class Early:
    def __init__(self, size=1):
        if size == 11: return
        if size == 12: raise TypeError("twelve")
        most(size)

class Loop:
    def __init__(self, size=1, **settings):
        for name, value in settings.items():
            if value is None: return
        if size > 9: raise ValueError(f"{size} is above 9")

class Near(Far): ...

class Plain(Child): ...

class Strict:
    def __init__(self, size=0):
        if size < 1: raise ValueError("strict")

class Starred(Strict):
    def __init__(self, *sizes):
        super().__init__(*sizes)

class Doubled(Strict):
    def __init__(self, **rest):
        super().__init__(**rest)

class Clocked(Strict):
    def __init__(self):
        super().__init__(**clock())

class Endless:
    def __init__(self):
        self.make()

    def make(self):
        self.make()

@dataclass
class Untold:
    low: float = clock()
    high: float = 1.0
    def __post_init__(self):
        if self.high < self.low: raise ValueError(f"{self.high} is below {self.low}")

@dataclass
class Record:
    low: float = 0.0
    high: float = 1.0
    def __post_init__(self):
        if self.high < self.low: raise ValueError(f"{self.high} is below {self.low}")

class Narrow:
    def __init__(self, depth=1): ...

class Wide:
    def __init__(self, depth=1, **rest): ...

def once(steps=1):
    if steps < 1: raise ValueError(f"steps={steps}")
"""
HELPER = """
def least(least, **settings):
    for name, value in settings.items():
        if value < least: raise ValueError(f"{name} must be at least {least}, got {value}")

LIMIT = 5

def most(value):
    if value > LIMIT: raise ValueError(f"{value} is above the helper's {LIMIT}")

class Far:
    def __init__(self, size=1):
        if size > LIMIT: raise ValueError(f"{size} is too far for {LIMIT}")
"""


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "refusing").mkdir()
    (tmp_path / "refusing" / "__init__.py").write_text(SOURCE)
    (tmp_path / "refusing" / "helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))


PART = {"_partial_": True}
NARROW, WIDE, ONCE = (
    PART | {"_target_": f"refusing.{name}"} for name in ("Narrow", "Wide", "once")
)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("Base", {"size": 0}, "x: size=0 is no size"),
        ("Base", {"size": 1}, None),
        ("Base", {"depth": 9}, "x: depth 9.0 is above 8"),
        ("Child", {"size": 0}, "x: size=0 is no size"),  # through super
        ("Child", {"size": "big"}, None),  # changed on the way
        ("Child", {"size": 1, "depth": 9}, "x: depth 9.0 is above 8"),  # through **rest
        ("Child", {"size": 1, "pair": [-1, 2]}, "x: first must be at least 0, got -1"),  # a helper
        ("Child", {"size": 1, "pair": [0.5, 0.25]}, "x: 0.25 below 0.5"),
        ("Child", {"size": 1, "pair": [0.5, None]}, None),
        ("Child", {"size": 1, "pair": [0.5]}, None),  # what it raises then has other words
        ("Child", {"size": 1, "name": "bad"}, "x: name bad"),
        ("Child", {"size": 1, "other": 3}, "x: name a"),
        ("Child", {"size": 1, "other": {"_target_": "refusing.Base"}}, None),
        ("Child", {"size": 1, "part": NARROW}, None),
        ("Maker", {"size": 1, "part": NARROW}, "Narrow does not fit Maker (it takes no width)"),
        ("Maker", {"size": 1, "part": WIDE}, None),
        ("Unsure", {"when": 2}, None),
        ("Unsure", {"size": 0}, None),  # its base is not called
        ("Unsure", {"size": 7}, None),
        *[("Vague", {"size": size}, None) for size in (8, 9, 10)],
        ("Early", {"size": 11}, None),
        ("Loop", {"size": 10, "other": 1}, "x: 10 is above 9"),
        ("Loop", {"size": 10, "other": None}, None),
        ("Early", {"size": 12}, "x: twelve"),
        ("Early", {"size": 6}, "x: 6 is above the helper's 5"),
        ("Near", {"size": 6}, "x: 6 is too far for 5"),
        ("Plain", {"size": 0}, "x: size=0 is no size"),
        ("Doubled", {}, "x: strict"),
        *[(name, {}, None) for name in ("Starred", "Clocked", "Endless", "Untold", "Grows")],
        ("Maker", {"size": 1, "part": ONCE}, "once does not fit Maker (it takes no width)"),
        ("Fine", {"parts": [NARROW]}, None),
        ("Record", {"high": -1.0}, "x: -1.0 is below 0.0"),
        ("Record", {"low": 2.0}, "x: 1.0 is below 2.0"),
        ("once", {"steps": 0}, "x: steps=0"),
        ("nothing", {}, None),
    ],
)
@pytest.mark.usefixtures("refusing")
def test_source_text_is_followed_as_far_as_it_tells(
    name: str, settings: dict[str, Any], says: str | None
) -> None:
    node = {"_target_": f"refusing.{name}", **settings}
    if says is None:
        refusal.check(node, "x", is_open=False)
        return
    with pytest.raises(InputError) as refused:
        refusal.check(node, "x", is_open=False)
    assert str(refused.value).startswith(says)


@pytest.mark.usefixtures("refusing")
def test_a_default_is_not_believed_where_the_program_may_give_more() -> None:
    node = {"_target_": "refusing.Record", "low": 2.0}
    with pytest.raises(InputError):
        refusal.check(node, "x", is_open=False)
    refusal.check(node, "x", is_open=True)
    refusal.check({"_target_": "refusing.Child", "size": 1, "other": 3}, "x", is_open=True)
    refusal.check({"_target_": "refusing.Doubled"}, "x", is_open=True)
    refusal.check({"_target_": "refusing.Loop", "size": 10, "other": 1}, "x", is_open=True)


RESTORE = "restore."
ALIKE = [
    ("callback.ema.EMA", {"decay": 2.0}),
    ("callback.progress.MaxUpdates", {"max_updates": 0}),
    ("callback.samples.Samples", {"num_images": 0}),
    ("recovery.best.Checkpoint", {"name": "../x"}),
    ("recovery.points.Recovery", {"every_minutes": 0.0}),
    ("data.framing.CenterSquare", {"size": 0}),
    ("degradation.noise.KAIRNoise", {"sigma": -1.0}),
    ("degradation.mask.Box", {"fraction": 2.0}),
    ("degradation.mask.Box", {"size": 3, "fraction": 0.5}),
    ("degradation.mask.Lines", {"period": 0}),
]


@pytest.mark.parametrize(("name", "settings"), ALIKE)
def test_the_words_are_those_of_the_constructor(name: str, settings: dict[str, Any]) -> None:
    node = {"_target_": RESTORE + name, **settings}
    with pytest.raises(InputError) as built:
        build(node, "x.y")
    with pytest.raises(InputError) as early:
        refusal.check(node, "x.y", is_open=False)
    assert str(early.value) == str(built.value)


def test_optimizers_refuse_in_the_words_of_torch() -> None:
    import torch

    for settings in ({"betas": [2, 0.9]}, {"lr": -1.0}, {"weight_decay": -1}, {"eps": -1.0}):
        node = {"_target_": "torch.optim.AdamW", "_partial_": True, **settings}
        with pytest.raises(ValueError) as built:
            torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **settings)  # type: ignore[arg-type]
        with pytest.raises(InputError) as early:
            check_early(
                {"task": {"_target_": "restore.task.denoising.Denoiser", "optimizer": node}}
            )
        assert str(early.value) == f"task.optimizer: {built.value}"


LINES = [
    ["data.batch_size=0"],
    ["task.optimizer.betas=[2,0.9]"],
    ["task.optimizer.weight_decay=-1"],
    ["task.scheduler.pct_start=2"],
    ["task.class_conditional=true", "task.label_dropout=0"],
    ["callback.recovery.every_minutes=0"],
    ["callback.best.name=''"],
    ["trainer.max_time=soon"],
    ["+trainer.callbacks=[]"],
    ["experiment=inpaint_photos", "network=unet"],
    ["logger=wandb", "logger.timeout=0"],
]
PROGRAM = f"""
import sys
from restore.config import rules
from restore.config.compose import composed
from restore.types import InputError
for line in {LINES}:
    try:
        rules.check_run(composed("train", line))
        print("passed", line)
    except InputError as error:
        pass
print("torch" in sys.modules, "lightning" in sys.modules)
"""


def test_neither_torch_nor_lightning_is_loaded_to_refuse(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert ended.stdout == "False False\n", ended.stdout + ended.stderr
