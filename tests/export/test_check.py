"""What a check of an export tells and allows, without a measurement."""

import functools
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from restore.evaluation.method import Method
from restore.export import check
from restore.types import InputError, RunError


def checked(lost: float) -> check.Checked:
    return check.Checked("digits", "float16", "psnr", 30.0, lost, 1.0, 2.0, [])


def test_a_hundredth_of_a_decibel_may_be_lost_and_no_more() -> None:
    check.check([checked(0.01), checked(-3.0)])
    for lost in (0.0101, float("nan")):
        with pytest.raises(RunError, match=r"more than 0\.01: nothing was written"):
            check.check([checked(0.0), checked(lost)])


def measured(
    monkeypatch: pytest.MonkeyPatch, *summaries: dict[str, float], seconds: float | None = 0.25
) -> check.Checked:
    """What is said of two methods of these summaries, of 9 images each, a file of 2.5 MB.

    seconds: of an image by the exported one; the other one takes 9, and has other images.
    """

    def report(summary: dict[str, float], seconds: float | None, start: int) -> Any:
        same: dict[str, Any] = {"name": "", "bucket": "", "nan": math.nan}
        rows = [{"index": k, "psnr": float(start + k), **same} for k in range(9)]
        cost = SimpleNamespace(seconds=seconds)
        return SimpleNamespace(summary=summary, rows=rows, cost=cost, benchmark=named)

    reports = iter([report(summaries[0], 9.0, 50), report(summaries[1], seconds, 0)])
    monkeypatch.setattr(check, "composed", lambda *given: {})
    monkeypatch.setattr(check, "tester", lambda config: None)
    monkeypatch.setattr(check.load, "benchmarks", lambda config, num_calls: [named])
    monkeypatch.setattr(check, "evaluate", lambda trainer, method, benchmark: next(reports))
    method = cast(Method, SimpleNamespace(num_calls=1, check=lambda observation: None))
    (found,) = check.measure(method, method, "int8", 2_500_000, ["digits"])
    return found


def test_a_check_may_name_all_of_sampler_and_guidance_and_nothing_else() -> None:
    named = check.sampling(["guidance=dps", "guidance.scale=0.25", "sampler=ddim"])
    assert named["guidance"]["scale"] == 0.25 and "sampler" in named
    for other in ("seed=1", "samplers=x", "task.sampler=ddim"):
        with pytest.raises(InputError, match=f"--with {other}: give sampler="):
            check.sampling([other])


named: Any = SimpleNamespace(
    name="digits",
    check_method=lambda method: None,
    data=SimpleNamespace(first=lambda split: {"input": split}),
    metrics=[SimpleNamespace(name=one) for one in ("ssim", "psnr", "hole_psnr")],
)


def test_a_check_leaves_out_the_guidance_of_the_model_where_it_is_asked_to() -> None:
    assert check.sampling(["guidance=null"]) == {"guidance": None}
    named = check.sampling(["sampler=ddim", "sampler.num_steps=3"])
    assert named.keys() == {"sampler"}  # so that the guidance is the model's own


def test_the_loss_is_that_of_the_hole_in_decibels_and_sizes_are_megabytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = {"psnr": 31.0, "hole_psnr": 20.0}, {"psnr": 29.0, "hole_psnr": 19.5}
    found = measured(monkeypatch, *both)
    assert (found.metric, found.value, found.lost_db) == ("hole_psnr", 19.5, 0.5)
    assert (found.megabytes, found.milliseconds, len(found.first)) == (2.5, 250.0, 4)
    kept = check.kept([found], ["sampler=ddim"], "int8")["digits"]
    assert kept["first"] == 4 and kept["first_metrics"] == {"psnr": 1.5}  # of 0, 1, 2 and 3
    assert (kept["with"], kept["source"]) == (["sampler=ddim"], "int8")
    assert math.isnan(measured(monkeypatch, *both, seconds=None).milliseconds)
    monkeypatch.setattr(named, "metrics", named.metrics[:2])
    assert measured(monkeypatch, {"psnr": 31.0}, {"psnr": 29.0}).lost_db == 2.0


@pytest.mark.parametrize(
    ("name", "says"), [("original", "does not fit"), ("exported", "does not fit"), ("", "none of")]
)
def test_all_benchmarks_are_checked_before_the_first_is_measured(
    monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    """The second does not serve one of the models, or measures nothing in decibels."""

    def refuse(who: str, batch: Any) -> None:
        if (who, batch) == (name, "second"):
            raise InputError("this model does not fit")

    def benchmark(place: str) -> Any:
        metric = "ssim" if (name, place) == ("", "second") else "psnr"
        return SimpleNamespace(
            name=place,
            check_method=lambda method: method.check(place),
            data=SimpleNamespace(first=lambda split: place),
            metrics=[SimpleNamespace(name=metric)],
        )

    both = [benchmark("first"), benchmark("second")]
    monkeypatch.setattr(check, "composed", lambda *given: {})
    monkeypatch.setattr(check, "tester", lambda config: None)
    # photos that the original is too slow for are left out for both
    monkeypatch.setattr(
        check.load, "benchmarks", lambda config, num_calls: both[: num_calls // 105]
    )
    monkeypatch.setattr(check, "evaluate", lambda *given: pytest.fail("it was measured"))
    methods: Any = [
        SimpleNamespace(num_calls=num_calls, check=functools.partial(refuse, who))
        for who, num_calls in (("original", 210), ("exported", 1))
    ]
    with pytest.raises(InputError, match=says):
        check.measure(*methods, "int8", 1, ["first", "second"])
