"""Every command of README.md: it composes as it stands, and runs in its smallest form.

Commands of sweeps and of several machines have tests of their own (tests/sweep/test_documented.py).
"""

import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from entry import ROOT, Command, Parsed, stop_when_parsed
from PIL import Image

from restore.config.signature import check_early
from restore.picture import save_png

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Lines of the blocks of shell, without comments, continued lines joined."""
    code = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S)).replace("\\\n", " ")
    lines = (" ".join(shlex.split(line, comments=True, posix=False)) for line in code.splitlines())
    return [line for line in lines if line]


def of(script: str) -> list[str]:
    start = f"python {script}.py "
    return [line.removeprefix(start) for line in commands() if line.startswith(start)]


def test_somebody_s_network_is_measured_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines as they stand, on two embedded photos in place of a data set."""
    (lines,) = re.findall(r"```python\n(import cv2.*?)```", README, re.S)
    small = "benchmark.{0}.data={{limit:2,repeat:1}}"
    for name, embedded in (("cbsd68_sigma25", "photos_sigma25"), ("flowers_masks", "photos_masks")):
        lines = lines.replace(f'"{name}"', f'"{embedded}", "{small.format(embedded)}"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("theirs.py").write_text("import torch\nclass Net(torch.nn.Conv2d):\n"
                                 "    def __init__(self): super().__init__(3, 3, 1)\n")  # fmt: skip
    torch.save(torch.nn.Conv2d(3, 3, 1).state_dict(), "theirs.pth")
    exec(compile(lines, "README.md", "exec"), {})
    psnr, hole_psnr, folder = capsys.readouterr().out.splitlines()[-1].split(" ")
    assert float(psnr) > 0 and float(hole_psnr) > 10 and folder == str(tmp_path / "filled")


def test_a_photo_is_filled_from_python_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = re.findall(r"```python\n(import restore\n.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    hole = np.zeros((20, 30), np.uint8)
    hole[5:9, 5:20] = 255
    Image.fromarray(photo).save("photo.jpg")
    Image.fromarray(hole).save("scratches.png")
    exec(compile(lines, "README.md", "exec"), {})
    given, made = (np.asarray(Image.open(name)) for name in ("photo.jpg", "filled.png"))
    assert np.array_equal(made[hole == 0], given[hole == 0])
    assert not np.array_equal(made, given)


WORDS = sorted({line.split()[1] for line in commands() if line.startswith("restore ")})


def single(line: str) -> bool:
    """Whether it is neither a search (see tests/sweep/test_documented.py) nor a resume."""
    return "search=" not in line and "resume.path" not in line


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    kinds = ("python train.py", "python evaluate.py", "restore ", "make ", "torchrun ")
    others = ("source .venv/bin/activate", "export RESTORE_DATA=")
    for line in commands():
        assert line.startswith((*kinds, *others)), line
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {line.split()[1] for line in commands() if line.startswith("make ")} <= targets


@pytest.mark.parametrize("line", [one for one in of("train") if single(one)])
def test_a_training_composes_as_it_stands(command: Command, line: str) -> None:
    first = [re.sub(r"^([\w./]+=[^,\[(']*),.*", r"\1", one) for one in shlex.split(line)]
    ended = command("--cfg", "job", "--resolve", *(one for one in first if one != "-m"))
    assert ended.code == 0, ended.err
    check_early(yaml.safe_load(ended.out))  # --cfg prints what no class would take, too


@pytest.mark.parametrize("line", of("evaluate"))
def test_an_evaluation_composes_as_it_stands(command: Command, line: str) -> None:
    ended = command("--cfg", "job", "--resolve", *shlex.split(line), script="evaluate")
    assert ended.code == 0, ended.err
    check_early(yaml.safe_load(ended.out))


@pytest.mark.parametrize("word", ["train", "evaluate"])
def test_a_word_of_hydra_is_its_entry(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from restore import cli

    called: list[list[str]] = []

    def become(path: str, arguments: list[str]) -> None:
        called.append([path, *arguments])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr("sys.argv", ["restore", word, "a=1", "-m"])
    with pytest.raises(SystemExit):
        cli.main()
    python = sys.executable
    assert called == [[python, python, "-m", f"restore.main.{word}", "a=1", "-m"]]
    assert (ROOT / "restore" / "main" / f"{word}.py").exists()


@pytest.mark.parametrize("word", [word for word in WORDS if word not in ("train", "evaluate")])
def test_a_word_of_restore_is_there(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from restore import cli

    monkeypatch.setattr("sys.argv", ["restore", word, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and word in capsys.readouterr().out


@pytest.mark.parametrize("line", [one for one in commands() if one.startswith("restore ")])
def test_a_line_of_restore_is_one_that_it_takes(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from restore import cli

    words = shlex.split(line.partition(" && ")[0])
    if words[1] in ("train", "evaluate"):
        return  # composed by the tests of Hydra's entries
    stop_when_parsed(monkeypatch)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(Parsed):
        cli.main()
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [one for one in commands() if one.startswith(("restore train ", "restore evaluate "))]
)
def test_a_word_of_hydra_composes_as_its_script(command: Command, line: str) -> None:
    word, *rest = shlex.split(line)[1:]
    if any("mylab" in one for one in rest):
        return  # tests/test_outside.py has the package
    ended = command("--cfg", "job", *rest, script=word)
    assert ended.code == 0, ended.err


@pytest.mark.slow
def test_the_lines_of_one_s_own_photos_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that start no training, with photos in the place of /photos."""
    from restore import cli

    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for number in range(24):
        photo = torch.rand(3, 72, 72, generator=generator) * 2 - 1
        save_png(photo, tmp_path / "photos" / f"{number}.png")
    hole = torch.full((1, 72, 72), -1.0)
    hole[:, 20:30, 20:40] = 1
    save_png(hole, tmp_path / "scratches.png")
    save_png(photo, tmp_path / "photo.jpg".replace("jpg", "png"))
    (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")
    wanted = ("restore predict inpaint photo.jpg", "restore list", "restore show", "restore shard")
    lines = [line for line in commands() if line.startswith(wanted)]
    assert len(lines) >= 6
    for line in lines:
        own = line.replace("=/photos", f"={tmp_path}/photos").replace(" /photos", " photos")
        monkeypatch.setattr("sys.argv", shlex.split(own.replace(" /shards", " shards")))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, (own, capsys.readouterr().err)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"filled", "shards", "show_denoise_photos.png", "show_inpaint_photos.png"} <= made


@pytest.mark.slow
@pytest.mark.parametrize("line", [one for one in of("train") if "benchmark=folder" in one])
def test_one_s_own_photos_train_and_are_measured(
    command: Command, tmp_path: Path, line: str
) -> None:
    """A command of the page, with photos and in its smallest form; then a resume of its run."""
    generator = torch.Generator().manual_seed(0)
    for number in range(40):
        photo = torch.rand(3, 72, 72, generator=generator) * 2 - 1
        (tmp_path / "photos").mkdir(exist_ok=True)
        save_png(photo, tmp_path / "photos" / f"{number}.png")
    run = tmp_path / "run"
    given = re.sub(r"(data.root=)\S+", rf"\1{tmp_path / 'photos'}", line).split()
    small = ("debug=smoke", "max_updates=2", "adversary=null", "benchmark.folder.data.limit=2")
    ended = command(*given, *small, f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    assert (run / "result.json").exists() and (run / "comparison.png").exists()
    (line,) = (one for one in of("train") if "resume.allow_inexact" in one)
    longer = line.replace("outputs/EXPERIMENT/TIME", str(run))
    longer = longer.replace("max_updates=20000", "max_updates=3")
    ended = command(*shlex.split(longer))
    assert ended.code == 0, ended.err
