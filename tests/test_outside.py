"""A package beside restore trains, is measured and goes on; restore knows nothing of it."""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT, Command
from test_cli import TINY, check_refused

import restore
from restore import bundle, checkpoint
from restore.build import build
from restore.config import searchpath, trust
from restore.config.compose import composed
from restore.evaluation import load
from restore.types import Facts, InputError

MYLAB = ROOT / "tests" / "outside" / "mylab"
SEARCH = "hydra.searchpath=[pkg://mylab.conf]"
OWN = (SEARCH, "experiment=fill_digits")
NETWORK = "+task.network._target_=mylab.network"


@pytest.fixture
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package on sys.path; the folder that it lies in."""
    from restore.config import definition, source

    home = tmp_path / "own"
    shutil.copytree(MYLAB / "mylab", home / "mylab", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(home))
    forget()  # another test's
    tree = definition._tree

    def of_now(module: str) -> Any:
        return (tree.__wrapped__ if module.partition(".")[0] == "mylab" else tree)(module)

    monkeypatch.setattr(definition, "_tree", of_now)
    source.describe.cache_clear()
    yield home
    forget()
    source.describe.cache_clear()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def test_own_code_trains_is_measured_and_goes_on(
    command: Command, tmp_path: Path, mylab: Path
) -> None:
    run = tmp_path / "run"
    watched = "+callback.timer._target_=lightning.pytorch.callbacks.Timer"
    ended = command(*OWN, "debug=smoke", watched, f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    check_loaded(run)
    record = json.loads((run / "result.json").read_text())
    assert {"edge_error", "hole_psnr", "known_error"} <= record["evaluation"][0]["metrics"].keys()
    network = "mylab.network.PartialConv"
    assert record["foreign"].keys() >= {network, "mylab.degradation.Scratches", "mylab.loss.Edges"}
    assert record["foreign"][network].startswith("sha256 ")

    again = (f"checkpoint={run}", "benchmark=digits_half", "trainer.limit_test_batches=1")
    there = ("own", "run")
    refused = command(*again, script="evaluate")
    check_refused(refused, f"names {network} (of sha256", tmp_path, there)
    assert refused.err.rstrip().endswith("add packages=[mylab]")
    ended = command(*again, "packages=[mylab]", script="evaluate")
    assert ended.code == 0 and "hole_psnr" in ended.out, ended.err
    shutil.rmtree(tmp_path / "outputs")

    more = (f"resume.path={run}", "max_updates=3", "task.optimizer.lr=1e-4")
    check_refused(command(*more), "packages=[mylab]", tmp_path, there)
    with open(mylab / "mylab" / "network.py", "a") as file:
        file.write("# another version\n")
    changed = f"the code of {network}: sha256"
    timer = "names lightning.pytorch.callbacks.Timer: if you trust that package"
    check_refused(command(*more, "packages=[mylab]"), timer, tmp_path, there)
    both = "packages=[mylab,lightning]"
    check_refused(command(*more, both), changed, tmp_path, there)
    ended = command(*more, both, "resume.allow_inexact=true")
    assert ended.code == 0, ended.err
    record = json.loads((run / "result.json").read_text())
    assert any(changed in one for one in record["resumed"][-1]["differences"])


def test_a_version_is_of_the_distribution_and_all_are_read_once(
    mylab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("mylab.network.PartialConv", "mylab.loss.Edges")
    config = [{"_target_": name} for name in names]
    assert [one[:7] for one in trust.foreign(config).values()] == ["sha256 "] * 2
    read: list[None] = []
    all_of_them = importlib.metadata.packages_distributions
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: read.append(None) or all_of_them()
    )
    for name in ("mylab", "labtools"):
        info = mylab / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "top_level.txt").write_text("mylab\n")
        for _ in range(2):
            assert trust.foreign(config) == dict.fromkeys(names, f"{name} 1.5")
        shutil.rmtree(info)
    assert len(read) == 2


def test_code_installed_with_e_has_digits_beside_its_version(mylab: Path) -> None:
    name = "mylab.network.PartialConv"
    config = {"_target_": name}
    info = mylab / "mylab-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.5\n")
    (info / "top_level.txt").write_text("mylab\n")
    for editable, said in ((True, "mylab 1.5 sha256 "), (False, "mylab 1.5")):
        origin = {"url": mylab.as_uri(), "dir_info": {"editable": editable}}
        (info / "direct_url.json").write_text(json.dumps(origin))
        assert trust.foreign(config)[name].rstrip("0123456789abcdef") == said.rstrip("5")
    both = {name: "mylab 1.5 sha256 aa"}
    assert not trust.code_differences({name: "mylab 1.5"}, both)  # as it was recorded once
    for recorded in ("mylab 1.5 sha256 ab", "mylab 1", "mylab 1.4"):
        assert len(trust.code_differences({name: recorded}, both)) == 1


def test_modules_that_own_code_imports_are_a_part_of_its_version(
    mylab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to import, from module to module, also in a circle; but nothing that is installed,
    and not what Python runs of a package on the way."""
    files = {
        "mylab/one.py": "import torch, json\nfrom . import two\nfrom mylab.deep.four import x\n",
        "mylab/two.py": "def late():\n    import mylab.three as t\n    from mylab import one\n",
        "mylab/three.py": "from .deep import five\nimport tools.six, restore, installed.seven\n",
        "mylab/deep/__init__.py": "from .eight import *\n",
        "mylab/deep/four.py": "x = 1\n",
        "mylab/deep/eight.py": "five = 5\n",
        "tools/six.py": "this is no Python\n",
    }
    apart = {
        "mylab/other.py": "",
        "restore/__init__.py": "",
        "json.py": "",
        "site-packages/installed/seven.py": "import installed.nine, second\n",
        "site-packages/installed/nine.py": "",
        "site-packages/second.py": "",
    }
    for name, text in (files | apart).items():
        (mylab / name).parent.mkdir(parents=True, exist_ok=True)
        (mylab / name).write_text(text)
    monkeypatch.syspath_prepend(str(mylab / "site-packages"))

    def version(name: str = "mylab.one.Net") -> str:
        return trust.foreign({"_target_": name})[name]

    alone = hashlib.sha256((mylab / "mylab/one.py").read_bytes()).hexdigest()[:12]
    first = version()
    assert first.startswith(f"sha256 {alone} with ")
    recorded, now = {"mylab.one.Net": f"sha256 {alone}"}, {"mylab.one.Net": first}
    assert not trust.code_differences(recorded, now)  # as it was recorded once
    for name in [*apart, *files]:
        before = version()
        with open(mylab / name, "a") as file:
            file.write("# another version\n")
        assert (version() != before) == (name in files), name
    before = version("installed.seven.Net")
    for name, counts in (("installed/nine.py", True), ("second.py", False)):
        (mylab / "site-packages" / name).write_text("# another version still\n")
        assert (version("installed.seven.Net") != before) == counts
        before = version("installed.seven.Net")


def test_versions_are_known_without_an_import(mylab: Path) -> None:
    (mylab / "mylab" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (mylab / "alone.py").write_text("raise RuntimeError('imported')\n")
    names = ("mylab.network.Plain", "alone.Net", "mylab.gone.Net", "nowhere_at_all.Net")
    versions = trust.foreign([{"_target_": name} for name in names])
    for name, file in zip(names, ("mylab/network.py", "alone.py"), strict=False):
        digest = hashlib.sha256((mylab / file).read_bytes()).hexdigest()
        assert versions[name] == f"sha256 {digest[:12]}"
    assert versions["mylab.gone.Net"] == versions["nowhere_at_all.Net"] == "unknown"


@pytest.fixture
def trained(mylab: Path) -> list[Path]:
    """A checkpoint and a bundle of a denoiser with an own network, as they were after training."""
    node = {
        "_target_": "restore.task.denoising.Denoiser",
        "network": {"_target_": "mylab.network.Plain", "_partial_": True, "width": 2},
        "loss": {"l1": {"_target_": "restore.loss.content.Pixels"}},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True},
    }
    facts = {"image_channels": 1, "input_channels": 1, "image_size": 8, "num_classes": 10}
    task = build(node, "task", trust=trust.Trust(("mylab",)), facts=Facts(**facts))
    content = {
        "config": {"task": node, "seed": 0, "data": {"batch_size": 1}},
        "facts": facts,
        "state_dict": task.state_dict(),
        "experiment": "mine",
        "foreign": trust.foreign(node),
        "progress": {"updates": 1, "batches": 1},
    }
    checkpoint.write(content, mylab / "mine.ckpt")
    (mylab / "bundle").mkdir()
    bundle.write(content, mylab / "bundle", {})
    return [mylab / "mine.ckpt", mylab / "bundle"]


def test_a_model_of_other_code_is_told_in_one_line(mylab: Path, trained: list[Path]) -> None:
    readers: list[Callable[[Path], Any]] = [
        lambda place: restore.load(place, packages=["mylab"], device="cpu"),
        lambda place: load.method(place, {"packages": ["mylab"]}),
    ]
    for place in trained:
        for read in readers:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(place)
    with open(mylab / "mylab" / "network.py", "a") as file:
        file.write("# another version\n")
    for place in trained:
        for read in readers:
            with pytest.warns(UserWarning) as told:
                read(place)
            [one] = [str(warning.message) for warning in told]
            assert one.startswith("mine: the code of mylab.network.Plain: sha256 "), one
            assert one.endswith(" since it was trained, so that it may restore otherwise")


def test_other_code_of_a_benchmark_is_another_protocol(mylab: Path) -> None:
    """Of what makes its inputs also another task."""
    overrides = ["benchmark=digits_scratches", SEARCH, "packages=[mylab]"]

    def hashes() -> list[str]:
        [made] = load.benchmarks(composed("evaluate", overrides), 0)
        return [made.protocol, made.task]

    first = hashes()
    assert hashes() == first
    for name, changes in (
        ("metric", [True, False]),
        ("loss", [True, False]),  # of which the metric imports a function
        ("degradation", [True, True]),
    ):
        before = hashes()
        with open(mylab / "mylab" / f"{name}.py", "a") as file:
            file.write("# another version\n")
        assert [one != other for one, other in zip(hashes(), before, strict=True)] == changes


def check_loaded(run: Path) -> None:
    """`restore.load` of a run with own code: the network fills the hole, the rest is as it was."""
    with pytest.raises(InputError, match=r"packages=\['mylab'\]"):
        restore.load(run, device="cpu")
    model = restore.load(run, packages="mylab", device="cpu")
    image = torch.arange(64, dtype=torch.uint8).mul(3).view(1, 8, 8)
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[2:5, 3:] = True
    made = model(image, hole)
    masked = (image[None] / 127.5 - 1).masked_fill(hole, 0)
    with torch.no_grad():
        filled = model.task.network(masked, hole[None, None].float())[-1]
    wanted = ((filled[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(made[:, ~hole], image[:, ~hole])
    assert (made.int() - wanted.int())[:, hole].abs().max() <= 1
    assert type(model.task.network).__module__ == "mylab.network"


def test_own_learning_rule_on_own_data(command: Command, tmp_path: Path, mylab: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    for split in ("train", "val", "test"):
        np.save(mylab / f"{split}.npy", images)
    own = (SEARCH, "experiment=denoise_arrays", f"data.root={mylab}", "debug=smoke")
    scheduled = "task.scheduler._target_=torch.optim.lr_scheduler.ExponentialLR"
    ended = command(
        *own,
        "task.optimizer._target_=torch.optim.NAdam",
        "scheduler=constant",
        scheduled,
        "~task.scheduler.factor",
        "~task.scheduler.total_iters",
        "+task.scheduler.gamma=0.5",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["training"]["updates"] == 2
    np.save(mylab / "train.npy", images.astype(np.float32))
    shutil.rmtree(tmp_path / "run")
    check_refused(command(*own), "train.npy holds float32 [6, 8, 8]", tmp_path, ("own",))


REFUSED = [
    ("task.network.widht=3", "task.network.widht is not a setting: did you mean width"),
    ("task.network.width=wide", "task.network.width='wide' has the wrong type: it takes int"),
    ("task.network.dpeth=1", "did you mean depth"),
    ("data.degradation.count=0", "data.degradation.count=0 must be at least 1"),
    ("data.degradation.count=1.5", "data.degradation.count=1.5 has the wrong type"),
    ("task.network._target_=mylab.network.PartailConv", "did you mean PartialConv"),
    ("task.network._target_=mylab.nets.PartialConv", "does not exist"),
    ("task.network._target_=mylab.network.Tensor", "only restore's own classes"),
    ("packages=[mylap]", "packages=[mylap] is not installed"),
    ("packages=[os]", "packages=[os] is a part of Python"),
    ("packages=[]", "packages=[mylab]"),
    ("experiment=fill_digit", "did you mean fill_digits"),
]


@pytest.mark.parametrize(("line", "says"), REFUSED, ids=[line for line, _ in REFUSED])
def test_own_code_is_checked_like_ours(
    command: Command, tmp_path: Path, mylab: Path, line: str, says: str
) -> None:
    check_refused(command(*OWN, "debug=smoke", *line.split()), says, tmp_path, ("own",))


def test_missing_argument_of_own_class(command: Command, tmp_path: Path, mylab: Path) -> None:
    (mylab / "mylab" / "more.py").write_text(
        "class Needs:\n    def __init__(self, weight: float) -> None: ...\n"
    )
    extra = "+task.loss.more._target_=mylab.more.Needs"
    says = "task.loss.more.weight is missing: mylab.more.Needs needs it"
    check_refused(command(*OWN, "debug=smoke", extra), says, tmp_path, ("own",))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("pkg://mylap.conf", "hydra.searchpath=pkg://mylap.conf is not there"),
        ("pkg://mylab.confs", "hydra.searchpath=pkg://mylab.confs is not there"),
        ("file:///nowhere/conf", "hydra.searchpath=file:///nowhere/conf is not there"),
    ],
)
def test_search_path_that_is_not_there(
    command: Command, tmp_path: Path, mylab: Path, path: str, says: str
) -> None:
    check_refused(command(f"hydra.searchpath=[{path}]", *TINY), says, tmp_path, ("own",))


def test_a_file_of_a_name_that_we_have_is_refused(
    command: Command, tmp_path: Path, mylab: Path
) -> None:
    """Hydra would take ours without a word."""
    own = mylab / "mylab" / "conf" / "network" / "unet.yaml"
    shutil.copy(ROOT / "conf" / "network" / "unet.yaml", own)
    assert command(SEARCH, "--cfg", "job").code == 0  # equal bytes hide nothing
    own.write_text("# @package task.network\n_target_: mylab.network.Dilated\n_partial_: true\n")
    says = f"{own} would never be read: network=unet is {ROOT / 'conf' / 'network' / 'unet.yaml'}"
    check_refused(command(SEARCH, *TINY), says, tmp_path, ("own",))
    again = tmp_path / "own" / "again" / "network"
    again.mkdir(parents=True)
    own.rename(own.with_name("mine.yaml"))
    (again / "mine.yaml").write_text("# @package task.network\n_target_: mylab.network.Narrow\n")
    both = f"hydra.searchpath=[pkg://mylab.conf,file://{again.parent}]"
    says = f"{again / 'mine.yaml'} would never be read: network=mine is"
    check_refused(command(both, *TINY), says, tmp_path, ("own",))


class Editable:
    """As pip's for a package that is installed with -e: asked after the folders of sys.path."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "mylab":
            return None
        place = self.home / "mylab" / "__init__.py"
        return importlib.util.spec_from_file_location(
            name, place, submodule_search_locations=[str(place.parent)]
        )


@pytest.mark.parametrize("line", [SEARCH, "packages=[mylab]"])
def test_a_folder_that_hides_an_installed_package_is_named(
    command: Command, tmp_path: Path, mylab: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Above a project folder of its own name: as `restore train` is started there."""
    project = tmp_path / "above" / "mylab"
    shutil.copytree(mylab, project)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(mylab)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable(project)])
    assert searchpath.folder("pkg://mylab.conf").is_dir()  # nothing hides it yet
    monkeypatch.syspath_prepend(str(project.parent))
    says = f"package mylab is installed, and the folder {project} hides it from Python: start"
    check_refused(command(line, *TINY), says, tmp_path, ("own", "above"))


def test_help_lists_own_choices(command: Command, mylab: Path) -> None:
    shown = command("--help", SEARCH).out
    assert "denoise_arrays" in shown and "fill_digits" in shown and "noise2void" in shown
    assert "fill_digits" not in command("--help").out


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("system", {"_target_": "os.system", "command": "touch MARK"}, "os.system"),
    ("eval", {"_target_": "builtins.eval", "source": "open('MARK', 'w')"}, "builtins.eval"),
    ("popen", {"_target_": "subprocess.Popen", "args": ["touch", "MARK"]}, "subprocess.Popen"),
    ("package", {"_target_": "mylab.network.Plain", "_partial_": True}, "packages=[mylab]"),
    ("import", {"_target_": "acts.on.Import"}, "packages=[acts]"),
]


@pytest.mark.parametrize("place", ["", "network", "deep"])
@pytest.mark.parametrize(("name", "node", "says"), HOSTILE, ids=[one[0] for one in HOSTILE])
def test_hostile_checkpoint_runs_nothing(
    command: Command,
    tmp_path: Path,
    mylab: Path,
    name: str,
    node: dict[str, Any],
    says: str,
    place: str,
) -> None:
    mark = tmp_path / "own" / "mark"
    (mylab / "acts").mkdir()
    for module in ("__init__.py", "on.py"):
        (mylab / "acts" / module).write_text(f"open({str(mark)!r}, 'w')\nclass Import: ...\n")
    node = {key: _marked(value, mark) for key, value in node.items()}
    whole = {
        "_target_": "restore.task.denoising.Denoiser",
        "network": {"_target_": "restore.network.denoising.DenoisingUNet", "_partial_": True},
        "loss": {},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True},
    }
    task, deep = {**whole, "network": node}, {**whole, "loss": {"pixels": node}}
    facts = {"image_channels": 1, "input_channels": 1, "image_size": 8, "num_classes": 10}
    stored = {"task": {"": node, "network": task, "deep": deep}[place], "seed": 0}
    content = {
        "config": {**stored, "data": {"batch_size": 1}},
        "facts": facts,
        "state_dict": {},
        "experiment": "x",
        "foreign": {"mylab.network.Plain": "mylab 0.1.0"},
        "progress": {"updates": 1, "batches": 1},
    }
    checkpoint.write(content, tmp_path / "own" / "hostile.ckpt")
    ended = command("checkpoint=own/hostile.ckpt", "benchmark=digits_half", script="evaluate")
    check_refused(ended, says, tmp_path, ("own",))
    if name == "package":
        assert "(of mylab 0.1.0)" in ended.err
    assert not mark.exists()
    assert not {"acts", "mylab"} & {one.partition(".")[0] for one in sys.modules}


def _marked(value: Any, mark: Path) -> Any:
    if isinstance(value, list):
        return [_marked(one, mark) for one in value]
    return value.replace("MARK", str(mark)) if isinstance(value, str) else value


@pytest.fixture
def own(mylab: Path) -> Callable[[str], Any]:
    from importlib import import_module

    return lambda name: import_module(f"mylab.{name}")


def test_scratches_are_holes_of_their_seeds_alone(own: Callable[[str], Any]) -> None:
    scratches, target = own("degradation").Scratches(count=2), torch.ones(3, 1, 8, 8)
    seeds = torch.tensor([5, 6, 5])
    degraded = scratches(target, seeds)
    assert torch.equal(degraded["hole"][0], degraded["hole"][2])
    assert torch.equal(degraded["input"], target * (1 - degraded["hole"]))
    full = degraded["hole"][:, 0].mean(dim=2) == 1
    assert (full.sum(dim=1) >= 1).all() and (full.sum(dim=1) <= 2).all()


def test_partial_convolution_does_not_see_holes(own: Callable[[str], Any]) -> None:
    torch.manual_seed(0)
    network = own("network").PartialConv(image_channels=1, width=4)
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., 2:4, 2:4] = 1
    image = torch.rand(1, 1, 8, 8)
    other = torch.where(hole == 1, torch.rand(1, 1, 8, 8), image)
    assert torch.equal(network(image, hole)[0], network(other, hole)[0])


def test_noise2void_hides_what_it_is_asked_for(own: Callable[[str], Any]) -> None:
    """The hidden share by count; the loss does not change with what the network says elsewhere."""
    from restore.types import Facts

    seen: list[torch.Tensor] = []

    class Blind(torch.nn.Module):
        def __init__(self, **facts: Any) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, image: torch.Tensor, sigma: torch.Tensor | None) -> torch.Tensor:
            seen.append(image)
            return image * 0 + self.weight

    facts = Facts(image_channels=2, input_channels=2, image_size=8, num_classes=None)
    task = own("task").Noise2Void(facts, Blind, share=0.25, optimizer=torch.optim.SGD)
    noisy = torch.arange(2 * 2 * 64.0).view(2, 2, 8, 8)  # every pixel has a value of its own
    batch: Any = {"input": noisy, "index": torch.tensor([3, 4]), "name": ["a", "b"]}
    loss = task.losses(batch, 0)["hidden_l2"]
    hidden = (seen[0] != noisy).any(dim=1, keepdim=True)
    assert hidden.flatten(1).sum(dim=1).tolist() == [16, 16]
    assert loss == (noisy.square() * hidden).sum() / (2 * hidden.sum())
    row, column = (seen[0] % 64 // 8 - noisy % 64 // 8) % 8, (seen[0] - noisy) % 8
    for offset in (row, column):
        assert ((offset <= 2) | (offset >= 6)).all()
