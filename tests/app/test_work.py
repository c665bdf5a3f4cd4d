"""A request from settings to files: what is refused, stopped, shown on the way, and repeated."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import write_model

from restore import checkpoint, job, predict, released, shelf
from restore.api import Model
from restore.app import work
from restore.app.models import Models
from restore.app.page import list_models
from restore.app.stops import Stops
from restore.checkpoint import best_of
from restore.data.photo_file import read_photo, write_png
from restore.types import InputError

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
HOLE = np.zeros((20, 28), np.uint8)
HOLE[4:12, 5:20] = 255


@pytest.fixture(scope="module", autouse=True)
def _no_released_models() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(released, "names", list)
        yield


@pytest.fixture(scope="module")
def models(outputs: Path) -> Models:
    return Models([outputs], device="cpu")


def request_of(
    folder: Path, names: list[str], settings: work.Settings, soft: bool = False
) -> work.RestorationRequest:
    folder.mkdir(exist_ok=True)
    write_png(PHOTO, folder / "photo.png")
    write_png(HOLE, folder / "mask.png")
    mask = folder / "mask.png" if {"inpainter", "prior"} & set(names) else None
    if settings.strength:
        mask = None
    write_png(HOLE // 2, folder / "strength.png")
    drawn = folder / "strength.png" if soft else None
    return work.RestorationRequest(folder / "photo.png", mask, names, settings, drawn)


def run(
    models: Models, request: work.RestorationRequest, stop: threading.Event | None = None
) -> list[Any]:
    return list(work.run(models, request, request.photo.parent, stop or threading.Event()))


def test_models_say_what_they_do(models: Models) -> None:
    kinds = models.kinds()
    assert [name for name, kind in kinds.items() if kind.fills_holes] == ["prior", "inpainter"]
    assert [name for name, kind in kinds.items() if kind.colorizes] == ["painter", "colorizer"]
    sampled = {name for name, kind in kinds.items() if kind.has_sampler}
    assert sampled == {"painter", "prior", "sketcher"}
    assert [name for name, kind in kinds.items() if kind.needs_sigma] == ["denoiser"]


def test_new_runs_are_found_and_broken_ones_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = Models([tmp_path], device="cpu")
    assert models.kinds() == {} and not models.refused
    write_model("blind", tmp_path)
    broken = tmp_path / "broken" / "checkpoints" / "best.ckpt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no checkpoint")
    models.refresh()
    assert list(models.kinds()) == ["blind"] and models.refused == {"broken"}
    models.refresh()
    said = capsys.readouterr().err
    assert said.count("left out: broken: ") == 1 and str(broken) in said and "damaged" in said
    assert "left out: broken" in list_models(models) and str(tmp_path) not in list_models(models)
    for name in ("broken", "../blind", "/etc/passwd", "", None, ["blind"]):
        with pytest.raises(InputError, match="choose a model"):
            models.kind(name)  # type: ignore[arg-type]


def test_a_run_that_has_gone_or_broke_is_named_and_no_longer_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Visitors can do nothing with a path, nor with advice for a command line."""
    for name in ("blind", "denoiser", "colorizer"):
        write_model(name, tmp_path)
    models = Models([tmp_path], device="cpu")
    with models.use(["blind"]):
        shutil.rmtree(tmp_path / "blind")  # one that is in memory, and one that is not
        shutil.rmtree(tmp_path / "denoiser")
    best_of(tmp_path / "colorizer").write_bytes(b"half of a checkpoint")
    for name in ("blind", "denoiser", "colorizer"):
        with pytest.raises(InputError) as said, models.use([name]):
            raise AssertionError
        assert str(said.value).startswith(f"{name} is gone, or damaged: press Look again")
        assert str(tmp_path) not in str(said.value)
    assert str(tmp_path / "blind") in capsys.readouterr().err
    models.refresh()
    assert models.kinds() == {} and models.refused == {"colorizer"}
    with pytest.raises(InputError, match="choose a model anew: blind is gone; Look again"):
        models.kind("blind")
    shutil.rmtree(tmp_path / "colorizer")
    models.refresh()
    assert not models.refused


CASES = [
    (["prior"], {"seed": 5, "num_samples": 2, "steps": 3}),
    (["denoiser", "colorizer"], {"sigma": 12.5}),
    (["inpainter"], {}),
    (["blind"], {"ensemble": True}),
    (["prior"], {"strength": 0.5}),
    (["sketcher"], {"strength": 0.75, "seed": 7}),
    (["sketcher"], {"strength": 0.75, "soft": True}),
]


@pytest.mark.parametrize(("names", "given"), CASES, ids=str)
def test_the_job_of_a_request_repeats_it(
    models: Models,
    outputs: Path,
    tmp_path: Path,
    names: list[str],
    given: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    soft = given.get("soft", False)
    numbers = {name: value for name, value in given.items() if name != "soft"}
    settings = work.settings_for(models, names, **numbers)
    done = run(models, request_of(tmp_path / "one", names, settings, soft))[-1]
    assert isinstance(done, work.Done) and len(done.files) == settings.num_samples
    assert settings.self_ensemble == given.get("ensemble", False)
    for image, file in zip(done.images, done.files, strict=True):
        assert np.array_equal(read_photo(file)[0], image)
    saved = job.read(done.job)
    assert saved.settings == settings and (saved.strength_map is not None) == soft
    if soft:
        assert np.array_equal(done.images[0][HOLE == 0], PHOTO[HOLE == 0])
    paths = [str(outputs / name) for name in names]
    code = predict.repeat(
        done.job, paths, [], tmp_path / "out", predict.PredictionSettings(device="cpu")
    )
    line = json.loads(capsys.readouterr().out)
    assert code == 0 and line["repeated"]
    made = [Path(output).read_bytes() for output in line["outputs"]]
    assert made == [file.read_bytes() for file in done.files]


def test_steps_are_seen_and_the_last_is_the_result(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_SHOWN_EVERY", 0.0)
    settings = work.settings_for(models, ["sketcher"], strength=1.0)
    seen: list[Any] = []
    original = work._underway
    monkeypatch.setattr(work, "_underway", lambda *given: seen.append(original(*given)) or seen[-1])
    done = run(models, request_of(tmp_path / "one", ["sketcher"], settings))[-1]
    assert [(step.number, step.total) for step in seen] == [(k, 4) for k in (1, 2, 3, 4)]
    assert seen[0].image.shape[-1] == 3
    assert np.array_equal(seen[-1].image, done.images[0])


def test_a_stopped_sampler_says_how_far_it_came_and_goes_on_from_there(
    models: Models, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    settings = work.settings_for(models, ["sketcher"], strength=0.75)
    with pytest.raises(work.Stopped) as stopped:
        run(models, request_of(tmp_path / "one", ["sketcher"], settings), stop)
    step = stopped.value.step
    assert step is not None and (step.number, step.total, step.t) == (1, 3, 0.75)
    request = request_of(
        tmp_path / "two", ["sketcher"], work.settings_for(models, ["sketcher"], strength=step.t)
    )
    assert step.image.shape == PHOTO.shape
    write_png(step.image, request.photo)
    assert isinstance(run(models, request)[-1], work.Done)


@pytest.mark.parametrize("names", [["blind"], ["denoiser", "sketcher"]], ids=str)
def test_a_model_without_a_sampler_stops_at_its_next_layer(
    models: Models, tmp_path: Path, names: list[str]
) -> None:
    """One call of a network may take minutes; afterwards the model works as before."""
    settings = work.settings_for(models, names, sigma=10.0, strength=0.75)
    request = request_of(tmp_path / "one", names, settings)
    before = run(models, request)[-1].files[0].read_bytes()
    stop, layers = threading.Event(), list[Any]()
    with models.use(names) as (loaded, _):
        inside = [one for one in loaded[0].task.network.modules() if not list(one.children())]

    def third(layer: Any, given: Any) -> None:
        layers.append(layer)
        if len(layers) == 3:
            stop.set()

    hooks = [layer.register_forward_pre_hook(third) for layer in inside]
    try:
        with pytest.raises(work.Stopped) as stopped:
            run(models, request, stop)
    finally:
        for hook in hooks:
            hook.remove()
    assert stopped.value.step is None and len(layers) in (3, 4) and len(inside) > 5
    assert run(models, request)[-1].files[0].read_bytes() == before


def test_whoever_leaves_frees_the_model(models: Models, tmp_path: Path) -> None:
    settings = work.settings_for(models, ["sketcher"], strength=1.0, steps=1000)
    request = request_of(tmp_path / "one", ["sketcher"], settings)
    going = work.run(models, request, tmp_path / "one", threading.Event())
    assert isinstance(next(going), work.Underway)
    going.close()
    short = work.settings_for(models, ["sketcher"], strength=0.5)
    assert isinstance(run(models, request_of(tmp_path / "two", ["sketcher"], short))[-1], work.Done)
    assert not (tmp_path / "one" / "job.zip").exists()


def test_a_model_does_one_job_at_a_time(models: Models) -> None:
    order: list[str] = []

    def second() -> None:
        with models.use(["blind", "inpainter"]):
            order.append("second")

    with models.use(["inpainter", "blind"]):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_no_memory_is_a_message_and_the_next_request_works(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    request = request_of(tmp_path / "one", ["blind"], work.Settings())
    before = run(models, request)[-1].files[0].read_bytes()
    for error, says in ((MemoryError(), "memory"), (KeyError("/secret/place"), "could not be")):

        def fail(*given: Any, wrong: Exception = error, **more: Any) -> None:
            raise wrong

        with monkeypatch.context() as patch:
            patch.setattr(Model, "__call__", fail)
            with pytest.raises(InputError, match=says) as raised:
                run(models, request)
            assert "secret" not in str(raised.value)
    assert "/secret/place" in capsys.readouterr().err
    assert run(models, request)[-1].files[0].read_bytes() == before


def test_two_users_do_not_mix_and_a_model_stays_as_it_is(models: Models, tmp_path: Path) -> None:
    requests = [
        request_of(
            tmp_path / str(seed),
            ["prior"],
            work.settings_for(models, ["prior"], seed=seed, steps=3 + seed),
        )
        for seed in (0, 1)
    ]
    alone = [run(models, request)[-1].files[0].read_bytes() for request in requests]
    results: dict[int, list[bytes]] = {0: [], 1: []}

    def work_on(number: int) -> None:
        for _ in range(5):
            results[number].append(run(models, requests[number])[-1].files[0].read_bytes())

    threads = [threading.Thread(target=work_on, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: [alone[number]] * 5 for number in (0, 1)}


REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    (["sketcher"], {"steps": 10**9}, "steps: give a number from 1 to 1000"),
    (["sketcher"], {"num_samples": 9}, "results: give a number from 1 to 8"),
    (["sketcher"], {"num_samples": "2"}, "results: give a number"),
    (["sketcher"], {"seed": 2**70}, "seed: give a number from 0 to 2147483647"),
    (["sketcher"], {"seed": float("nan")}, "seed: give a number"),
    (["sketcher"], {"strength": 1.5}, "strength: give a number"),
    (["denoiser"], {"sigma": -1}, "noise level: give a number"),
    (["denoiser"], {"sigma": True}, "noise level: give a number"),
    (["nobody"], {}, "choose a model"),
    ([], {}, "choose from 1 to 4 models"),
    (["blind"] * 5, {}, "choose from 1 to 4 models"),
]


@pytest.mark.parametrize(("names", "given", "says"), REFUSED, ids=[one[2] for one in REFUSED])
def test_settings_out_of_range_are_refused(
    models: Models, names: list[str], given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        work.settings_for(models, names, **given)


def test_settings_without_use_are_left_out(models: Models) -> None:
    given = {"sigma": 3.0, "strength": 0.5, "num_samples": 4, "seed": 9, "steps": 2}
    assert work.settings_for(models, ["blind"], **given) == work.Settings()
    assert work.settings_for(models, ["denoiser"], **given) == work.Settings(sigma=3.0)
    assert work.settings_for(models, ["prior"], **{**given, "strength": 0}).strength is None
    assert not work.settings_for(models, ["prior"], ensemble=True).self_ensemble
    assert work.settings_for(models, ["blind"], ensemble=True).self_ensemble


def test_a_strength_map_with_a_strength_of_nothing_is_refused(
    models: Models, tmp_path: Path
) -> None:
    """It would act as all of it."""
    settings = work.settings_for(models, ["sketcher"], strength=0)
    with pytest.raises(InputError, match="give one above 0"):
        run(models, request_of(tmp_path / "one", ["sketcher"], settings, soft=True))


def test_many_results_of_a_large_photo_are_refused(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore.app.canvas.MAX_PIXELS", 28 * 20 * 2)
    two, three = (
        request_of(
            tmp_path / str(k), ["prior"], work.settings_for(models, ["prior"], num_samples=k)
        )
        for k in (2, 3)
    )
    assert isinstance(run(models, two)[-1], work.Done)
    with pytest.raises(InputError, match="do not fit"):
        run(models, three)


def test_weights_that_a_training_replaces_are_taken_and_named(tmp_path: Path) -> None:
    """A better best.ckpt is written while the app is open: its picture, its kind and its hash."""
    folder = write_model("blind", tmp_path)
    models = Models([tmp_path], device="cpu")
    request = request_of(tmp_path / "asked", ["blind"], work.Settings())
    first = run(models, request)[-1]
    path = best_of(folder)
    content = checkpoint.read(path)
    for value in content["state_dict"].values():
        if value.is_floating_point():
            value.mul_(0.5)
    checkpoint.write(content, path)
    shas = [job.read(first.job).models[0].sha256]
    second = run(models, request)[-1]
    shas.append(job.read(second.job).models[0].sha256)
    assert not np.array_equal(first.images[0], second.images[0])
    assert shas[0] != shas[1] == shelf.digest(folder)
    with models.use(["blind"]) as (loaded, sums):
        assert sums == shas[1:]
        with models.use([]) as (none, _):
            assert none == []
        kept = loaded[0]
    with models.use(["blind"]) as (loaded, _):
        assert loaded[0] is kept  # nothing is read twice
    lock = models._get("blind").lock
    checkpoint.write({**content, "experiment": "other"}, path)
    models.refresh()
    assert models._get("blind").lock is lock
    assert models._get("blind").stamp != ()


class Visitor:
    def __init__(self, session_hash: str) -> None:
        self.session_hash = session_hash


def test_what_waits_in_the_queue_can_be_stopped() -> None:
    one, other, stops = Visitor("a"), Visitor("b"), Stops()
    stops.stop(one)  # nothing was asked for
    stops.ask(one)
    stops.ask(other)
    stops.stop(one)  # before its turn has come
    assert stops.begun(one).is_set() and not stops.begun(other).is_set()
    stops.ended(one, stops.begun(one))
    assert not stops.begun(one).is_set()
    stops.stop(other)
    assert stops.begun(other).is_set()


def test_what_is_dropped_ends_and_the_next_wish_stays_within_reach() -> None:
    visitor, stops = Visitor("a"), Stops()
    stops.drop(visitor)  # nothing was asked for
    dropped = stops.begun(visitor)
    stops.drop(visitor)
    assert dropped.is_set() and dropped.dropped
    wish = stops.begun(visitor)
    stops.ended(visitor, dropped)
    stops.stop(visitor)
    assert wish.is_set() and not wish.dropped


def editing(models: Models) -> Any:
    """The tab in which a sampler draws."""
    gr = pytest.importorskip("gradio")
    from restore.app.layout import build
    from restore.app.purpose import PURPOSES
    from restore.app.tab import Tab

    with gr.Blocks():
        return Tab(PURPOSES[-1], models, build(PURPOSES[-1], models))


@pytest.mark.parametrize("taken", [0, 1], ids=["before its first step", "behind its first step"])
def test_a_photo_that_is_taken_away_has_no_results(
    models: Models, tmp_path: Path, taken: int
) -> None:
    """What was made of it would stand below the next photo."""
    tab = editing(models)
    write_png(PHOTO, tmp_path / "photo.png")
    given = tmp_path / "photo.png", None, None, "sketcher", [], "", None, 1, 1, 0, 1000
    shown = tab.restore(Visitor("a"), *given)
    for _ in range(1 + taken):
        next(shown)
    assert tab.remove(Visitor("a"))[tab.parts["result"]] is None
    *_, last = shown
    assert last[tab.parts["result"]] is last[tab.parts["marked"]] is None
    assert last[tab.parts["status"]] == "" and not last[tab.parts["go_on"]]["visible"]


def test_a_comparison_that_is_stopped_keeps_what_its_first_chain_made(
    models: Models, tmp_path: Path
) -> None:
    tab, status = editing(models), []
    write_png(PHOTO, tmp_path / "photo.png")
    given = tmp_path / "photo.png", None, None, "sketcher", [], "prior", None, 1, 1, 0, 4
    for shown in tab.restore(Visitor("a"), *given):
        status.append(shown.get(tab.parts["status"], ""))
        if status[-1] == "prior is at work.":
            tab.stops.stop(Visitor("a"))
            kept = shown
        elif "prior: Stopped" in status[-1]:
            kept = shown
            (file,) = kept[tab.parts["files"]]["value"]
            assert read_photo(Path(file))[0].shape == PHOTO.shape
    assert "sketcher is at work." in status and status[-1].startswith("sketcher: 28 x 20, 8 bits")
    assert kept[tab.parts["job"]]["visible"] and kept[tab.parts["result"]].shape == PHOTO.shape


def test_what_went_wrong_stays_beside_the_buttons(models: Models, tmp_path: Path) -> None:
    """A message that comes and goes is missed by whoever looks elsewhere."""
    tab = editing(models)
    from gradio.exceptions import Error

    shown = tab.restore(Visitor("a"), None, None, None, "sketcher", [], "", None, 1, 1, 0, 4)
    assert next(shown) == {tab.parts["status"]: "choose a photo first"}
    with pytest.raises(Error, match="choose a photo first"):
        next(shown)
