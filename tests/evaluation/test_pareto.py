"""Quality against cost, and one photo set under two protocols."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from restore.evaluation import pareto, record, results, spelling, table
from restore.evaluation.cost import Cost
from restore.evaluation.leaderboard import tables
from restore.evaluation.markup import NONE
from restore.evaluation.method import SELF_ENSEMBLE
from restore.evaluation.pareto import Plot, Point, front, plots
from restore.evaluation.protocols import PEER, protocols
from restore.evaluation.ranked import best_first


@pytest.fixture
def root(tmp_path: Path, make_report: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    origin = {"device": "a processor", "commit": "0123456789ab", "dirty": False}
    monkeypatch.setattr(record, "provenance", lambda device: origin)
    small, large = Cost(0.5, 10**9, "1x3x8x8", 2**20), Cost(2.0, 10**11, "1x3x8x8", 2**20)
    where = {"benchmark": "masks"}
    made = [
        make_report("identity", {"hole_psnr": [5.0, 6.0]}, **where),
        make_report("telea", {"hole_psnr": [18.0, 19.0]}, **where),
        make_report("net", {"hole_psnr": [20.0, 21.0]}, kind="model", cost=small, **where),
        make_report("prior", {"hole_psnr": [19.0, 20.0]}, kind="published", cost=large,
                    num_calls=50, **where),
        make_report("alone", {"psnr": [1.0]}, benchmark="other", kind="model"),
    ]  # fmt: skip
    results.append(tmp_path / "experiments" / "results.csv", made)
    return tmp_path


def test_the_front_is_what_no_other_beats() -> None:
    points = [(1.0, 20.0), (2.0, 19.0), (3.0, 25.0), (3.0, 24.0), (4.0, 25.0)]
    assert front(points, lower=False) == [(1.0, 20.0), (3.0, 25.0)]
    assert front(points, lower=True) == [(1.0, 20.0), (2.0, 19.0)]
    assert front([], lower=True) == []
    assert front([(1.0, 5.0), (1.0, 3.0)], lower=True) == [(1.0, 3.0)]
    free = (0.0, 28.2)  # a filter that costs no products, and is better than both networks
    assert front([(2.0, 15.4), (3.0, 16.3), free], lower=False) == [free]


def test_only_a_baseline_without_products_is_free() -> None:
    """What was never counted of a network is unknown, and not 0."""
    for kind, macs, free in (
        ("baseline", None, True),
        ("baseline", 1e9, False),
        ("model", None, False),
        ("published", None, False),
    ):
        assert Point("a", kind, 20.0, macs, 1.0).costs_no_products == free


@pytest.mark.parametrize(("metric", "order"), [("psnr", "bca"), ("lpips_vgg", "cba")])
def test_the_best_comes_first_and_what_has_no_value_last(metric: str, order: str) -> None:
    values = {"a": "nan", "b": "3.0", "c": "1.0"}
    rows = [{"experiment": name, metric: value} for name, value in values.items()]
    assert "".join(row["experiment"] for row in best_first(rows, (metric,))) == order


@pytest.mark.parametrize(
    ("count", "text"),
    [("999", "999"), ("1000", "1 k"), ("1000000", "1 M"), ("103400000000", "103 G")],
)
def test_macs_have_the_largest_unit_that_they_fill(count: str, text: str) -> None:
    assert spelling.macs({"macs": count}) == text


def test_a_plot_has_the_methods_of_a_benchmark_and_their_costs(root: Path) -> None:
    found = plots(results.read(root / "experiments" / "results.csv")[1])
    assert list(found) == ["masks"]
    plot = found["masks"]
    assert plot.metric == "hole_psnr" and "n = 2" in plot.caption
    assert [(one.name, one.quality, one.macs, one.seconds) for one in plot.points] == [
        ("telea", 18.5, None, 0.25),
        ("net", 20.5, 1e9, 0.5),
        ("prior (50 calls)", 19.5, 1e11, 2.0),
    ]
    assert [one.costs_no_products for one in plot.points] == [True, False, False]


def test_results_of_fewer_images_or_of_an_older_protocol_are_left_out(
    root: Path, make_report: Any
) -> None:
    rows = results.read(root / "experiments" / "results.csv")[1]
    fewer = dict(rows[1], n="1", hole_psnr="99")
    older = dict(rows[1], protocol="before", hole_psnr="98")
    names = [(one.name, one.quality) for one in plots(rows)["masks"].points]
    found = plots([older, fewer, *rows])["masks"]
    assert [(one.name, one.quality) for one in found.points] == names and len(names) == 3


def test_seconds_of_another_machine_stand_beside_none(root: Path) -> None:
    """A second of a GPU is no second of a processor, whichever was measured last."""
    rows = results.read(root / "experiments" / "results.csv")[1]
    rows[2:4] = [dict(row, device="a GPU") for row in rows[2:4]]
    rows.append(dict(rows[1], experiment="biharmonic", seconds_per_image="0.125"))
    timed = [*rows, dict(rows[1], experiment="mean", seconds_per_image="0.0625")]
    for given in (timed, timed[::-1]):
        found = plots(given)["masks"]
        assert found.caption == "masks, n = 2, a processor"
        assert {one.name: one.seconds for one in found.points} == {
            **{"telea": 0.25, "net": None, "prior (50 calls)": None},
            **{"biharmonic": 0.125, "mean": 0.0625},
        }
        assert {one.name: one.macs for one in found.points}["net"] == 1e9


def test_a_name_tells_of_several_calls_and_not_of_one(root: Path, make_report: Any) -> None:
    once = make_report("once", {"hole_psnr": [1.0]}, benchmark="masks", num_calls=1)
    row = results.row_of(once)
    assert pareto._point(row, "hole_psnr", "").name == "once"
    assert pareto._point({**row, "nfe": "2"}, "hole_psnr", "").name == "once (2 calls)"


def test_the_page_shows_plots_that_are_written_anew_where_results_change(
    root: Path, make_report: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([], root) == 0
    path = root / "experiments" / pareto.FOLDER / "masks.png"
    page = (root / "experiments" / "README.md").read_text()
    assert "![masks: quality against cost](pareto/masks.png)" in page
    with Image.open(path) as image:
        assert image.width > 600 and len(image.convert("RGB").getcolors(1 << 16) or []) > 5
    assert path.stat().st_size < 40_000
    before = path.read_bytes()
    assert table.main([], root) == 0 and path.read_bytes() == before
    assert table.main(["--check"], root) == 0
    better = make_report(
        "net", {"hole_psnr": [30.0, 31.0]}, kind="model", benchmark="masks",
        cost=Cost(0.5, 10**9, "1x3x8x8", 2**20),
    )  # fmt: skip
    results.append(root / "experiments" / "results.csv", [better])
    assert table.main(["--check"], root) == 1
    assert "masks.png does not show what is in results.csv" in capsys.readouterr().err
    (path.parent / "gone.png").write_bytes(before)
    assert table.main([], root) == 0
    assert path.read_bytes() != before and not (path.parent / "gone.png").exists()


def test_a_metric_that_falls_is_drawn_upside_down() -> None:
    points = (Point("a", "model", 1.0, 1e9, 1.0), Point("b", "baseline", 2.0, None, 0.1))
    drawn = Plot("x", "fid", "x", points).draw()
    assert drawn.mode == "RGB" and drawn.size[0] > drawn.size[1]


def test_one_photo_set_under_two_protocols(root: Path, make_report: Any) -> None:
    values = {
        ("cbsd68_sigma25", "ffdnet_color", "published"): (31.2, 20.18),
        ("cbsd68_sigma25", "good", "model"): (31.3, 20.18),
        ("cbsd68_sigma25", "poor", "model"): (27.0, 20.18),
        ("cbsd68_allinone_sigma25", "ffdnet_color", "published"): (30.5, 20.54),
        ("cbsd68_sigma25", "kept", "model"): (30.9, 20.18),
        ("cbsd68_allinone_sigma25", "kept", "model"): (30.4, 20.54),
    }
    for (benchmark, name, kind), (psnr, given) in values.items():
        measured = {"psnr": [psnr] * 68, "input_psnr": [given] * 68}
        report = make_report(name, measured, benchmark=benchmark, kind=kind)
        results.append(root / "experiments" / "results.csv", [report])
    averaged = {"psnr": [31.6] * 68, "input_psnr": [20.18] * 68}
    report = make_report("good", averaged, benchmark="cbsd68_sigma25", kind="model")
    report.method.sampling = SELF_ENSEMBLE
    results.append(root / "experiments" / "results.csv", [report])
    (root / "ARCHITECTURE.md").write_text("<!-- table:protocols -->\n<!-- /table -->\n")
    [found] = tables(root)["protocols"]
    assert found.header == [
        *("sigma", "input, KAIR", "input, all-in-one", "ffdnet_color, KAIR"),
        *("ffdnet_color, all-in-one", "good, KAIR", "good, all-in-one"),
        *("kept, KAIR", "kept, all-in-one"),  # the best that both have measured
    ]
    assert found.rows[1] == [
        *("25", "20.18", "20.54", "31.20", "30.50", "31.30", NONE, "30.90", "30.40")
    ]
    assert found.rows[0] == ["15", *[NONE] * 8]
    assert table.main([], root) == 0
    assert "| 25 | 20.18 |" in (root / "ARCHITECTURE.md").read_text()
    assert "protocols" not in (root / "experiments" / "README.md").read_text()


def test_no_model_is_the_best_by_a_few_photos() -> None:
    row = {"benchmark": "cbsd68_sigma25", "kind": "model", "sampler": "", "input_psnr": "20.18"}
    tried = [("whole", "68", "31.0"), ("tried", "4", "33.0"), ("broken", "68", "nan")]
    found = [row | {"experiment": name, "n": n, "psnr": psnr} for name, n, psnr in tried]
    assert protocols(found)[0].header[-2:] == ["whole, KAIR", "whole, all-in-one"]


def test_what_was_measured_last_counts_under_a_protocol() -> None:
    row = {"benchmark": "cbsd68_sigma25", "experiment": PEER, "kind": "published", "n": "68"}
    row |= {"sampler": "", "input_psnr": "20.18"}
    [found] = protocols([row | {"psnr": psnr} for psnr in ("30.0", "31.0", "")])
    assert found.rows[1] == ["25", "20.18", NONE, "31.00", NONE]
