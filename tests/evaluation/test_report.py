import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restore.evaluation import plot, report, results, upload
from restore.evaluation.comparison import differences
from restore.evaluation.header import TAKEN
from restore.evaluation.method import SamplingRecord
from restore.metric.psnr import PSNR
from restore.picture import GAP, _wrap


def png(path: Path) -> Any:
    return np.asarray(Image.open(path))


class TestTable:
    def lines(self, reports: list[Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
        report.print_table(reports)
        return capsys.readouterr().out.splitlines()

    @pytest.mark.parametrize("count", [2, 12])
    def test_every_value_is_readable(
        self, count: int, make_report: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        metrics = {f"metric_number_{k}": PSNR() for k in range(count)}
        for name, metric in metrics.items():
            metric.name = name
        values = {name: [k + 0.25] for k, name in enumerate(metrics)}
        lines = self.lines([make_report("a_method", values, metrics=metrics)], capsys)
        assert max(map(len, lines)) <= report.WIDTH
        text = "\n".join(lines)
        assert "…" not in text
        for k, name in enumerate(metrics):
            assert f"{name} ↑" in text and f"{k}.2500" in text
        parts = sum("a_method" in line for line in lines)
        assert parts == (1 if count == 2 else 3)
        assert "protocol 0123456789ab" in text

    def test_what_a_reader_must_know_of_any_method_is_said_once(
        self, make_report: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Brackets in names are no markup of rich, which would take them away or end the run."""
        names = ("a", "b[red]", "c[/]")
        made = [make_report(name) for name in names]
        for one, own in zip(made, ([], ["half"], ["half"]), strict=True):
            one.notes = ["few [2] images", *own]
        lines = self.lines(made, capsys)
        assert lines.count("few [2] images") == 1
        assert [line for line in lines if "half" in line] == ["b[red], c[/]: half"]
        for name in names[1:]:  # in the table, and beside every difference
            assert sum(f" {name} " in line for line in lines) == 2

    def test_different_protocols_never_share_a_table(
        self, make_report: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = [make_report("a"), make_report("b", {"psnr": [1.0]}, protocol="ffff")]
        text = "\n".join(self.lines(pair, capsys))
        assert "n=2, protocol 0123456789ab" in text and "n=1, protocol ffff" in text

    def test_two_methods_are_compared(
        self, make_report: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        a = make_report("a", {"psnr": [20.0, 30.0, 25.0]})
        b = make_report("b", {"psnr": [21.0, 31.0, 26.0]})
        text = "\n".join(self.lines([a, b], capsys))
        assert "difference to a" in text and "+1.0000*" in text
        assert "[+1.0000, +1.0000]" in text
        assert "difference" not in "\n".join(self.lines([a], capsys))


class TestDifferences:
    def test_images_are_paired_by_index_and_name(self, make_report: Any) -> None:
        a = make_report("a", {"psnr": [20.0, 30.0, 40.0]}).rows
        b = make_report("b", {"psnr": [21.0, 32.0, 43.0]}).rows[::-1]
        [one] = differences([("a", a), ("b", b)])
        assert (one.metric, one.method, one.reference) == ("psnr", "b", "a")
        assert one.interval.mean == 2.0 and one.interval.num_images == 3
        few = [row | {"name": "another"} if row["index"] == 0 else row for row in b]
        [one] = differences([("a", a), ("b", few)])
        assert one.interval.mean == 2.5 and one.interval.num_images == 2

    def test_only_what_both_have_on_two_images(self, make_report: Any) -> None:
        nan = float("nan")
        a = make_report("a", {"psnr": [1.0, 2.0], "hole_psnr": [1.0, nan]}).rows
        b = make_report("b", {"psnr": [1.0, 2.0], "hole_psnr": [1.0, 2.0]}).rows
        assert [one.metric for one in differences([("a", a), ("b", b)])] == ["psnr"]
        assert [o.metric for o in differences([("a", a), ("b", b[:1])])] == []

    def test_file(self, make_report: Any, tmp_path: Path) -> None:
        made = [make_report(name, {"psnr": [k, 3.0 * k]}) for k, name in enumerate("abc")]
        report.write(tmp_path, made)
        with (tmp_path / "differences.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["method"], row["difference"]) for row in rows] == [("b", "2.0"), ("c", "4.0")]
        assert all(row["reference"] == "a" and row["n"] == "2" for row in rows)


def test_no_metric_may_be_named_as_a_column_of_a_table(make_report: Any, tmp_path: Path) -> None:
    """Its numbers would stand in place of what the column is for."""
    made = [make_report(name, {"psnr": [1.0, 2.0]}) for name in "ab"]
    report.write(tmp_path, made)
    results.append(tmp_path / "recorded.csv", made)
    for name in ("results.csv", "per_image.csv", "recorded.csv"):
        with (tmp_path / name).open() as file:
            columns = set(next(csv.reader(file)))
        measured = set(results._METRICS) & columns
        assert measured and columns - TAKEN == measured


class TestPictures:
    def test_columns_under_their_names(self, make_report: Any) -> None:
        named = [(name, make_report(name, size=(3, 64, 128))) for name in ("left", "right")]
        named[1][1].pictures = named[1][1].pictures * 0.5  # another result: 0 in both
        pixels = np.asarray(plot.comparison(named))
        header = pixels.shape[0] - (2 * (64 + GAP) + GAP)
        assert header > 10 and pixels.shape[1] == 4 * (128 + GAP) + GAP
        for column, value in enumerate((0, 128, 128, 255)):  # input | left | right | target
            left = GAP + column * (128 + GAP)
            title = pixels[:header, left : left + 128]
            assert title.min() < 128 < title.max()  # something is written there
            image = pixels[header + GAP : header + GAP + 64, left : left + 128]
            assert (image == value).all()

    def test_all_samples_of_a_single_method(self, make_report: Any) -> None:
        one = [("mine", make_report(size=(1, 8, 8), num_samples=3))]
        picture = plot.comparison(one)
        assert picture is not None and picture.mode == "RGB"
        # sixteen times enlarged: input, three samples, target, and the frame
        assert picture.width == 5 * (16 * 8 + GAP) + GAP

    def test_long_names_stay_in_their_column(self) -> None:
        from PIL import ImageFont

        font = ImageFont.load_default(11)
        name = "ddpm_flowers_masked_with_anextraordinarilylongword"
        lines = _wrap(name, font, 64)
        assert "".join(lines) == name
        assert max(font.getlength(line) for line in lines) <= 64

    def test_buckets_in_ascending_order(self) -> None:
        names = [f"hole_psnr[{b}]" for b in ("10-20", ">60", "1-10", "<1", "50-60")]
        expected = ["<1", "1-10", "10-20", "50-60", ">60"]
        assert plot.buckets_of(["psnr", *names]) == {"hole_psnr": expected}
        assert plot.buckets_of(["a[right]", "a[bottom]"]) == {"a": ["bottom", "right"]}

    def test_bucket_plot_draws_the_values(self, make_report: Any) -> None:
        def drawn(values: list[float]) -> Any:
            made = make_report("m", {"hole_psnr": values}, buckets=["1-10", "10-20", "20-30"])
            return np.asarray(plot.bucket_plot([("m", made)]))

        pixels = drawn([30.0, 25.0, 20.0])
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 1
        assert not np.array_equal(pixels, drawn([20.0, 25.0, 30.0]))
        assert plot.bucket_plot([("m", make_report("m"))]) is None
        # Equal values on an axis that does not begin at 0 must not look many times as large.
        coloured = np.ptp(drawn([10.2, 10.1, 10.0]).astype(int), axis=2) > 30
        assert 0 < coloured.mean() < 0.02

    def test_files(self, make_report: Any, tmp_path: Path) -> None:
        kwargs = {"values": {"hole_psnr": [1.0, 2.0]}, "buckets": ["1-10", "10-20"]}
        report.write(tmp_path, [make_report("a", **kwargs), make_report("b", **kwargs)])
        for name in ("comparison.png", "buckets.png"):
            assert png(tmp_path / name).std() > 1
        report.write(tmp_path, [make_report("a", **kwargs), make_report("a", benchmark="other")])
        expected = {"comparison_bench.png", "comparison_other.png", "buckets_bench.png"}
        assert expected <= {path.name for path in tmp_path.iterdir()}
        assert not (tmp_path / "buckets_other.png").exists()

    def test_a_method_without_pictures_is_left_out(self, make_report: Any) -> None:
        made = make_report("a")
        made.pictures = torch.empty(0)
        assert plot.comparison([("a", made)]) is None


def test_methods_of_one_name_are_told_apart(make_report: Any, tmp_path: Path) -> None:
    report.write(tmp_path, [make_report("a"), make_report("a"), make_report("b")])
    for name in ("per_image.csv", "results.csv"):
        with (tmp_path / name).open() as file:
            methods = [row["method"] for row in csv.DictReader(file)]
        assert list(dict.fromkeys(methods)) == ["a#1", "a#2", "b"]


def test_methods_of_one_name_have_a_legend(
    make_report: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("a.ckpt", "b.ckpt")]
    for path in paths:
        path.write_bytes(b"")
    ddim = SamplingRecord("ddim", "eta=0.0;num_steps=50", "")
    two = [make_report("a", checkpoint=str(path), sampling=ddim) for path in paths]
    report.print_table([*two, make_report("b")])
    printed = capsys.readouterr().out.splitlines()
    for number, path in enumerate(paths, start=1):
        assert f"a#{number}: {path}, ddim(eta=0.0, num_steps=50)" in printed
    assert not any(line.startswith("b:") for line in printed)
    report.write(tmp_path, two)
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["checkpoint"].split("@")[0] for row in rows] == ["a.ckpt", "b.ckpt"]
    assert rows[0]["sampler"] == "ddim" and rows[0]["precision"] == "32-true"


def test_a_name_that_is_no_utf8_is_written(make_report: Any, tmp_path: Path) -> None:
    made = make_report("a")
    made.rows[0]["name"] = b"ph\xf6to.png".decode("utf-8", "surrogateescape")
    report.write(tmp_path, [made])
    with (tmp_path / "per_image.csv").open(encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [r"ph\udcf6to.png", "001"]


class TestWandb:
    @pytest.fixture
    def logged(self, make_report: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        kwargs = {"values": {"hole_psnr": [1.0, 3.0]}, "buckets": ["1-10", "10-20"]}
        reports = [make_report("a", **kwargs), make_report("b", **kwargs)]
        upload.log_to_wandb(found.update, reports)
        return found

    def test_scalars_and_table(self, logged: dict[str, Any]) -> None:
        assert logged["bench/a/hole_psnr"] == 2.0 and logged["bench/b/hole_psnr[10-20]"] == 3.0
        assert logged["bench/table"].columns == ["method", "NFE", "hole_psnr ↑"]
        assert logged["bench/table"].data == [["a", 0, 2.0], ["b", 0, 2.0]]

    def test_pictures_are_eight_bit(self, logged: dict[str, Any]) -> None:
        for kind in ("comparison", "buckets"):
            image = logged[f"bench/{kind}"].image
            assert image.mode == "RGB" and np.asarray(image).dtype == np.uint8

    def test_every_image_has_a_row_and_the_first_have_panels(self, logged: dict[str, Any]) -> None:
        table = logged["bench/per_image"]
        assert table.columns[:3] == ["method", "index", "name"]
        assert [row[:2] for row in table.data] == [["a", 0], ["a", 1], ["b", 0], ["b", 1]]
        for name in "ab":
            for image in logged[f"bench/{name}/images"]:
                assert np.asarray(image.image).dtype == np.uint8
