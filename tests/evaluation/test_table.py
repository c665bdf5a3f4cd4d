import json
from pathlib import Path
from typing import Any

import pytest
import torchmetrics.image
import yaml

from restore.config.target import resolve
from restore.evaluation import leaderboard, record, results, table
from restore.evaluation.cost import Cost
from restore.evaluation.leaderboard import tables
from restore.evaluation.markup import Table, latex, latex_text, markdown
from restore.evaluation.ranked import lower_is_better
from restore.metric.psnr import PSNR

README = "# Project\n\n<!-- table:headline -->\nold\n<!-- /table -->\n\nEnd.\n"


@pytest.fixture
def root(tmp_path: Path, make_report: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    origin = {"device": "a processor", "commit": "0123456789ab", "dirty": True}
    monkeypatch.setattr(record, "provenance", lambda device: origin)
    folder = tmp_path / "experiments"
    sigma = {"benchmark": "cbsd68_sigma25"}
    values = {"psnr": [30.0, 31.0], "hole_l1": [0.1, 0.3]}
    results.append(
        folder / "results.csv",
        [
            make_report("identity", {"psnr": [20.0, 21.0], "hole_l1": [0.5, 0.5]}, **sigma),
            make_report("drunet_color", values, kind="published", **sigma),
            make_report("mine", {"psnr": [10.0]}, protocol="ffff", **sigma, kind="model", seed=3),
            make_report("mine", {"psnr": [1.0, 2.0]}, buckets=["<1", "1-10"], kind="model"),
        ],
    )
    (folder / "published.csv").write_text(
        "benchmark,n,method,metric,value,source\n"
        "cbsd68_sigma25,2,drunet_color,psnr,31.69,A paper\n"
        "cbsd68_sigma25,2,restormer,psnr,31.79,A paper\n"
    )
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_a_table_a_protocol_with_best_arrows_and_source(root: Path) -> None:
    whole, limited = tables(root)["cbsd68_sigma25"]
    assert whole.caption == "cbsd68_sigma25: n = 2, protocol 0123456789ab"
    assert limited.caption == "cbsd68_sigma25: n = 1 of 2, protocol ffff"
    text = markdown(whole)
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "| psnr ↑ | hole_l1 ↓ |" in header
    assert header.endswith("| psnr as published | source |")
    assert lines[0].startswith("| identity | baseline | 20.50 | 0.5000 |")
    assert lines[0].endswith("| – | – |")
    assert lines[1].startswith("| drunet_color | published | **30.50** | **0.2000** |")
    assert lines[1].endswith("| 31.69 | A paper |")
    assert "| 20.00 to 21.00 |" in lines[0] and "| 95 % of psnr |" in header
    # what was not measured here stands in the labelled column alone
    assert lines[2].startswith("| restormer | not measured | – | – |")
    assert lines[2].endswith("| 31.79 | A paper |")
    assert "31.69" not in markdown(limited)  # of another number of images


def test_intervals_are_of_the_first_metric_that_has_some(root: Path, make_report: Any) -> None:
    """A distance of distributions ranks before PSNR, and it is no mean over images."""
    report = make_report("mine", {"psnr": [20.0, 21.0]}, benchmark="sets", kind="model")
    report.summary["fid_flowers"] = 3.0
    results.append(root / "experiments" / "results.csv", [report])
    [one] = tables(root)["sets"]
    assert [name for name in one.header if "95 %" in name] == ["95 % of psnr"]
    assert one.rows[0][one.header.index("95 % of psnr")] == "20.00 to 21.00"


def test_best_and_second_of_three_are_marked_and_costs_stand_beside(
    root: Path, make_report: Any
) -> None:
    sizes = {"benchmark": "three", "cost": Cost(0.5, 102_700_000_000, "1x3x321x481", 2**20)}
    made = [make_report(f"m{k}", {"psnr": [20.0 + k]}, **sizes) for k in range(3)]
    results.append(root / "experiments" / "results.csv", made)
    [one] = tables(root)["three"]
    assert [row[2] for row in one.rows] == ["20.00", "21.00", "22.00"]
    assert one.best == {(2, 2)} and one.second == {(1, 2)}
    assert "costs at a batch of 1x3x321x481" in one.caption
    text = markdown(one)
    assert "| **22.00** |" in text and "| *21.00* |" in text
    assert "| 103 G | 0.5 | 1 |" in text


def test_rows_of_an_older_definition_say_so(root: Path, make_report: Any) -> None:
    class Newer(PSNR):
        definition = "psnr/new/v2"

        def __init__(self) -> None:
            self.name = "psnr"

    new = make_report("a", {"psnr": [1.0, 2.0]}, metrics={"p": Newer()}, protocol="new")
    results.append(root / "experiments" / "results.csv", [new])
    captions = [one.caption for one in tables(root)["bench"] if "bucket" not in one.caption]
    assert captions == [
        "bench: n = 2, protocol new, by psnr/new/v2",
        "bench: n = 2, protocol 0123456789ab, by psnr/rgb/uint8/per-image/v1",
    ]


def test_the_last_protocol_comes_first_whatever_its_hash(root: Path, make_report: Any) -> None:
    for protocol, n in (("ffff", 2), ("0000", 2), ("8888", 1)):
        made = make_report("a", {"psnr": [1.0] * n}, benchmark="redefined", protocol=protocol)
        results.append(root / "experiments" / "results.csv", [made])
    captions = [one.caption.removeprefix("redefined: n = ") for one in tables(root)["redefined"]]
    assert captions == ["2, protocol 0000", "2, protocol ffff", "1 of 2, protocol 8888"]


def test_buckets_that_are_all_alike_have_no_table(root: Path, make_report: Any) -> None:
    values = {"psnr": [1.0, 2.0], "hole_l1": [0.0, 0.0]}
    made = make_report("a", values, benchmark="holes", buckets=["<1", "1-10"])
    results.append(root / "experiments" / "results.csv", [made])
    _, *by_bucket = tables(root)["holes"]
    assert [one.caption.split(" ")[1] for one in by_bucket] == ["psnr"]


def test_the_winner_goes_by_the_direction_of_the_metric(root: Path, make_report: Any) -> None:
    kinds = {"ours": "model", "plain": "baseline"}
    for metric in ("fid", "psnr", "ssim"):
        values = {"ours": 0.2, "plain": 0.2 if metric == "ssim" else 0.5}
        where = {"benchmark": f"by_{metric}", "protocol": "x"}
        made = [
            make_report(name, {metric: [value]}, kind=kinds[name], **where)
            for name, value in values.items()
        ]
        results.append(root / "experiments" / "results.csv", made)
    [table] = tables(root)["winners"]
    wins = {row[0]: row[-1] for row in table.rows}
    assert wins["by_fid"] == "model"
    assert wins["by_psnr"] == "baseline" and wins["by_ssim"] == "neither"
    assert wins["bench"] == "–"  # nothing to compare with


def test_each_metric_has_a_best_model_of_its_own(root: Path, make_report: Any) -> None:
    where = {"benchmark": "two", "protocol": "x", "kind": "model"}
    values = {"regression": {"hole_psnr": [20.0], "fid": [0.8]}}
    values["gan"] = {"hole_psnr": [19.0], "fid": [0.6]}
    made = [make_report(name, one, **where) for name, one in values.items()]
    results.append(root / "experiments" / "results.csv", made)
    [table] = tables(root)["winners"]
    best = {row[1]: row[2] for row in table.rows if row[0] == "two"}
    assert best == {"hole_psnr ↑": "regression", "fid ↓": "gan"}


def test_two_metrics_decide_a_benchmark(root: Path, make_report: Any) -> None:
    """The first two that it measures of those by which methods are ranked."""
    values = {"psnr": [20.0], "fid": [0.8], "hole_psnr": [19.0]}
    made = make_report("net", values, benchmark="three", kind="model")
    results.append(root / "experiments" / "results.csv", [made])
    [table] = tables(root)["winners"]
    assert [row[1] for row in table.rows if row[0] == "three"] == ["hole_psnr ↑", "fid ↓"]


def test_bucket_table_in_ascending_order(root: Path) -> None:
    _, by_bucket = tables(root)["bench"]
    assert by_bucket.header == ["method", "<1", "1-10"]
    assert by_bucket.rows == [["mine", "1.000", "2.000"]]
    assert by_bucket.caption.startswith("bench: psnr ↑ by bucket, n = 2")


def test_the_headline_sets_the_best_baseline_beside_every_best_model(
    root: Path, make_report: Any
) -> None:
    """A model that loses to a baseline is seen to lose."""
    path = root / "experiments" / "results.csv"
    bench = {"benchmark": "masks", "protocol": "abc"}
    psnr = {"biharmonic": 19.25, "telea": 18.4, "gan": 17.6, "poor": 12.0, "other": 18.0}
    kinds = {"gan": "model", "poor": "model", "other": "published"}
    made = [
        make_report(name, {"hole_psnr": [value]}, kind=kinds.get(name, "baseline"), **bench)
        for name, value in psnr.items()
    ]
    small = make_report("few", {"hole_psnr": [99.0]}, protocol="old", benchmark="masks")
    results.append(path, [small, *made])
    [headline] = tables(root)["headline"]
    rows = [row for row in headline.rows if row[1] == "masks"]
    assert [(row[0], row[2]) for row in rows] == [
        ("biharmonic", "baseline"),
        ("other", "published"),
        ("gan", "model"),
    ]
    column = headline.header.index("hole_psnr ↑")
    place = headline.rows.index(rows[0])
    assert {cell for cell in headline.best if cell[1] == column} == {(place, column)}
    [first] = tables(root)["winners"]
    line = next(row for row in first.rows if row[0] == "masks")
    assert line[1:4] == ["hole_psnr ↑", "gan", "17.60"]
    assert line[6:] == ["biharmonic", "19.25", "baseline"]
    assert {column for row, column in first.best if first.rows[row][0] == "masks"} == {6, 7}
    # "mine" was measured on fewer images of cbsd68_sigma25 than any other, by another protocol
    own = next(row for row in headline.rows if row[:2] == ["mine", "cbsd68_sigma25"])
    assert own[headline.header.index("commit")] == "01234567 (dirty)"
    assert own[headline.header.index("seeds")] == "3"


def test_a_long_page_becomes_pages_a_benchmark(root: Path, make_report: Any) -> None:
    path = root / "experiments" / "results.csv"
    _, rows = results.read(path)
    columns = list(rows[0])
    many = [
        {**rows[0], "experiment": f"{k:0300}", "benchmark": f"b{k % 3}", "nfe": str(k)}
        | {"psnr": str(20 + k / 100)}
        for k in range(900)
    ]
    results.write(path, columns, rows + many)
    assert table.main([], root) == 0
    front = (root / "experiments" / "README.md").read_text()
    assert len(front.encode()) < table.LONGEST and "- [b1](b1.md)" in front
    page = (root / "experiments" / "b1.md").read_text()
    assert f"the best {leaderboard.LONGEST} of 300, results.csv has all" in page
    assert (
        len(page.encode()) < table.LONGEST and "| **28.98** |" in page and "| 20.01 |" not in page
    )
    assert table.main(["--check"], root) == 0
    results.write(path, columns, rows)
    assert table.main(["--check"], root) == 1
    assert table.main([], root) == 0
    assert [one.name for one in (root / "experiments").glob("*.md")] == ["README.md"]


def test_equal_values_have_no_best(make_report: Any, tmp_path: Path) -> None:
    path = tmp_path / "experiments" / "results.csv"
    results.append(path, [make_report("a", {"psnr": [20.001]}), make_report("b", {"psnr": [20.0]})])
    [one] = tables(tmp_path)["bench"]
    assert one.best == set()


def write_training(root: Path, **changed: Any) -> Path:
    """result.json of a training named mine."""
    content = {
        "training": {
            "updates": 10,
            "seconds": 61.5,
            "images_per_second": 99.0,
            "images": 320,
            "parameters": 2_500_000,
        },
        "experiment": "ddpm_digits",
        "overrides": ["seed=1", "a=[b, c]"],
        "device": "a processor",
        "commit": "0123456789ab",
        "dirty": False,
        "evaluation": [
            {"benchmark": "bench", "n": 2, "metrics": {"psnr": 25.0, "fid": None, "psnr[a]": 1}}
        ],
    }
    path = root / "experiments" / "mine" / "result.json"
    path.parent.mkdir(exist_ok=True)
    record.write_json(path, content | changed)
    return path


def test_records_show_cost_and_outcome(root: Path) -> None:
    path = write_training(root)
    [one] = tables(root)["records"]
    expected = ["mine", "10", "61.5", "99.0", "2.50 M", "a processor", "01234567"]
    assert one.rows == [[*expected, "bench: psnr 25.00"]]
    path.write_text(json.dumps({"training": None}))
    assert table.main(["--check"], root) == 2


def test_a_training_without_released_weights_has_a_page(root: Path) -> None:
    path = write_training(root)
    (path.parent / "samples.png").write_bytes(b"")
    assert table.main([], root) == 0
    page = path.with_name("README.md")
    assert page.read_text() == (
        "# mine\n"
        "- Question: Does a diffusion prior of 8x8 digits fill in the half of a digit it never "
        "saw, after minutes on a CPU?\n"
        "- Setting: 10 updates of 32 images, 2.50 M parameters\n"
        "- Answer: bench (n = 2): psnr 25\n"
        "- Command: `python train.py seed=1 'a=[b, c]'`\n"
        "- Seconds: 62 of training on a processor\n"
        "- Weights: not in this folder; the command trains them\n"
        "\n![samples](samples.png)\n"
    )
    page.write_text(page.read_text().replace("62", "61"))
    assert table.main(["--check"], root) == 1
    (path.parent / "model.json").write_text("{}")  # released: the card is not touched
    assert table.main(["--check"], root) == 0


def test_the_page_of_a_training_says_what_it_began_with_and_who_measured_it(root: Path) -> None:
    init = {"experiment": "b", "updates": 7, "checkpoint": "c.ckpt@0123"}
    path = write_training(root, init=init, evaluation=[])
    table.main([], root)
    page = path.with_name("README.md").read_text()
    assert "- Answer: measured after the training on cbsd68_sigma25, bench: [the tables]" in page
    assert "- Start: weights of b after 7 updates (c.ckpt@0123; " in page
    assert page.endswith("the command trains them from those that it starts with\n")
    other = path.parent.rename(path.parent.with_name("other"))
    table.main([], root)
    assert "- Answer: not measured on a benchmark\n" in (other / "README.md").read_text()
    path = write_training(root, training={"updates": 0, "images": 0})
    assert table.main(["--check"], root) == 2


def test_check_passes_after_writing_and_writing_is_idempotent(root: Path) -> None:
    assert table.main(["--check"], root) == 1
    assert table.main([], root) == 0
    before = {path: path.read_bytes() for path in root.rglob("*.md")}
    assert table.main(["--check"], root) == 0
    assert table.main([], root) == 0
    assert {path: path.read_bytes() for path in root.rglob("*.md")} == before
    readme = (root / "README.md").read_text()
    assert readme.startswith("# Project\n\n<!-- table:headline -->\n")
    assert readme.endswith("<!-- /table -->\n\nEnd.\n") and "\nold\n" not in readme


@pytest.mark.parametrize("name", ["README.md", "experiments/README.md"])
def test_an_edited_number_is_caught(
    name: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.main([], root)
    path = root / name
    text = path.read_text()
    assert "10.00" in text
    path.write_text(text.replace("10.00", "10.01", 1))
    assert table.main(["--check"], root) == 1
    assert "10.01" in path.read_text()  # a check changes nothing
    assert f"{name}:" in capsys.readouterr().err


def test_a_new_result_is_caught_until_rendered(root: Path, make_report: Any) -> None:
    table.main([], root)
    results.append(root / "experiments" / "results.csv", [make_report("new")])
    assert table.main(["--check"], root) == 1
    table.main([], root)
    assert "| new |" in (root / "experiments" / "README.md").read_text()


def test_markers_are_optional_but_must_end(root: Path) -> None:
    (root / "README.md").write_text("no marker, `<!-- table:headline -->` in passing\n")
    assert table.main([], root) == 0
    assert (root / "README.md").read_text().startswith("no marker")
    (root / "README.md").write_text(README.replace("<!-- /table -->", ""))
    assert table.main([], root) == 2
    (root / "README.md").write_text(README.replace("headline", "nothing_measured"))
    assert table.main([], root) == 0
    assert "No results on record yet." in (root / "README.md").read_text()


def test_an_empty_repository_renders(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    assert table.main([], tmp_path) == 0
    assert table.main(["--check"], tmp_path) == 0


def unescaped(text: str) -> list[str]:
    """Characters that LaTeX would act upon, outside of its own commands."""
    for known in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}"):
        text = text.replace(known, "")
    for character in "&%$#_{}":
        text = text.replace(f"\\{character}", "")
    return [character for character in text if character in "&%$#_{}~^\\"]


def test_latex_escapes() -> None:
    assert latex_text("a_b & 5 % {x} #1 $2 ~ ^") == (
        r"a\_b \& 5 \% \{x\} \#1 \$2 \textasciitilde{} \textasciicircum{}"
    )
    assert latex_text(r"C:\x") == r"C:\textbackslash{}x"
    assert latex_text("<1 ↑ –") == r"$<$1 $\uparrow$ --"
    assert unescaped(latex_text("&%$#_{}~^\\" * 2)) == []


def test_latex_table_has_as_many_cells_as_columns(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = latex(Table("A_b", ["method", "psnr ↑"], [["x_y", "1"], ["z", "2"]], {(1, 1)}))
    assert made.splitlines() == [
        r"\begin{table}",
        r"\caption{A\_b}",
        r"\begin{tabular}{lr}",
        r"\hline",
        r"method & psnr $\uparrow$ \\",
        r"\hline",
        r"x\_y & 1 \\",
        r"z & \textbf{2} \\",
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    assert table.main(["--latex"], root) == 0
    assert capsys.readouterr().out.count(r"\begin{table}") == 6
    assert not (root / "experiments" / "README.md").exists()


def test_markdown_cells_keep_to_their_columns() -> None:
    text = markdown(Table("c", ["method", "a"], [["x|y", "<1"]]))
    assert r"| x\|y | &lt;1 |" in text


def test_arrows_are_those_of_the_metrics() -> None:
    folder = Path(__file__).parents[2] / "conf" / "metric"
    leaves = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    found: dict[str, Any] = {
        name: getattr(torchmetrics.image, leaf["metric"].rpartition(".")[2])
        if "metric" in leaf
        else resolve(leaf["_target_"])
        for name, leaf in leaves.items()
    }
    wrong = [n for n, c in found.items() if lower_is_better(n) == c.higher_is_better]
    assert found and wrong == []


class Error(PSNR):
    """Somebody's metric, of which less is better."""

    higher_is_better = False
    definition = "rmse/v1"

    def __init__(self) -> None:
        self.name = "rmse"


def test_a_metric_of_users_says_itself_what_is_better(root: Path, make_report: Any) -> None:
    where: Any = {"benchmark": "own", "metrics": {"rmse": Error()}, "buckets": ["<1", "1-10"]}
    made = [make_report(n, {"rmse": [v, v + 1]}, **where) for n, v in (("a", 0.5), ("b", 0.1))]
    results.append(root / "experiments" / "results.csv", made)
    whole, by_bucket = tables(root)["own"]
    assert "rmse ↓" in whole.header and "rmse ↓ by bucket" in by_bucket.caption
    assert whole.best == {(1, 2)} and by_bucket.best == {(1, 1), (1, 2)}
    assert lower_is_better("fid_own_network") and not lower_is_better("fidelity")
    assert not lower_is_better("rmse") and not lower_is_better("psnr", [{"lower_is_better": ""}])
