"""ARCHITECTURE.md: its list of layers is the tested one, and its own degradation, sampler, guidance
and metric run as they stand on the page."""

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from entry import ROOT, Command
from test_layers import LAYERS

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
OWN = PAGE.partition("\n## Your own, without a fork\n")[2].partition("\n## Inside")[0]


def test_the_layers_are_those_that_are_tested() -> None:
    table = PAGE.partition("\n## Layers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == list(LAYERS)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:restore|conf|tests)/[\w./]+)`", PAGE)))
)
def test_what_the_page_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_what_the_page_adds_is_found_and_runs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = re.findall(r"```(?:python|yaml)\n((?:# @package \S+\n)?# (\S+)\n.*?)```", OWN, re.S)
    assert len(written) == 8
    for text, name in written:  # whole, as somebody copies it
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (line,) = re.findall(r"```bash\npython train\.py (.*?)```", OWN, re.S)
    line = line.replace("\\\n", " ").replace("$PWD", str(tmp_path))
    few = ("data.limit=4", "benchmark.digits_half.data.limit=4")
    small = ("task.network.width=4", "task.network.attention=[]", *few)
    run = tmp_path / "run"
    ended = command(*shlex.split(line), *small, f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    # Holes of the benchmark are 0.5 by the guidance and 0.1 more by the sampler, in [-1, 1].
    (measured,) = json.loads((run / "result.json").read_text())["evaluation"]
    assert measured["metrics"]["hole_light"] == pytest.approx((0.5 + 0.1 + 1) / 2, abs=1e-5)
    config = (run / "config.yaml").read_text()
    for own in ("mylab.rows.Rows", "mylab.once.once", "mylab.flat.Flat", "mylab.light.HoleLight"):
        assert own in config
        assert own.rpartition(".")[0] in sys.modules
    with next(run.glob("per_image.csv")).open() as file:
        assert next(csv.DictReader(file))["hole_light"]
