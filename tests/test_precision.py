"""precision=auto on processors and GPUs that this machine is not."""

from typing import Any

import pytest
import torch

from restore import precision
from restore.types import InputError

OLD = {"sse4_2", "avx2", "fma"}
SKYLAKE = OLD | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
ZEN4 = SKYLAKE | {"avx512_bf16"}
SAPPHIRE = ZEN4 | {"amx_bf16", "amx_tile"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine another one; `measured` counts how often a step was timed."""
    measured: list[str] = []

    def become(
        flags: set[str], ratio: float = 99.0, seen: bool = True, kind: str = "x86_64"
    ) -> list[str]:
        monkeypatch.setattr(precision.platform, "machine", lambda: kind)
        monkeypatch.setattr(precision, "processor_flags", lambda: flags)
        monkeypatch.setattr(precision, "torch_sees_bf16", lambda: seen)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

        def timed(device: str) -> float:
            measured.append(device)
            return ratio

        monkeypatch.setattr(precision, "ratio", timed)
        return measured

    return become


def settled(wanted: str | None, accelerator: str = "cpu") -> tuple[Any, list[str]]:
    trainer = {"accelerator": accelerator, "precision": wanted}
    config, notes = precision.settle({"trainer": trainer, "seed": 1})
    assert config["seed"] == 1 and trainer["precision"] == wanted  # a copy
    return config["trainer"]["precision"], notes


@pytest.mark.parametrize(
    ("flags", "becomes"),
    [(OLD, "32-true"), (ZEN4, "bf16-mixed"), (SAPPHIRE, "bf16-mixed")],
)
def test_flags_that_leave_no_doubt(machine: Any, flags: set[str], becomes: str) -> None:
    measured = machine(flags)
    chosen, notes = settled("auto")
    assert chosen == becomes and measured == []
    assert len(notes) == 1 and notes[0].startswith(f"precision: {becomes} (")


@pytest.mark.parametrize(
    ("flags", "seen", "kind"),
    [
        (SKYLAKE, False, "x86_64"),
        (ZEN4, False, "x86_64"),  # torch does not use what the processor has
        ({"fp", "asimd"}, False, "aarch64"),
        (set(), False, "x86_64"),  # no /proc/cpuinfo
    ],
)
@pytest.mark.parametrize(
    ("ratio", "becomes"), [(0.5, "bf16-mixed"), (0.9, "bf16-mixed"), (0.95, "32-true")]
)
def test_a_doubt_is_measured(
    machine: Any, flags: set[str], seen: bool, kind: str, ratio: float, becomes: str
) -> None:
    measured = machine(flags, ratio, seen, kind)
    chosen, notes = settled("auto")
    assert chosen == becomes and measured == ["cpu"]
    assert f"{ratio:.2f} times as long" in notes[0]


@pytest.mark.parametrize(
    ("capability", "units", "becomes"),
    [
        ((9, 0), True, "bf16-mixed"),
        ((8, 0), True, "bf16-mixed"),
        ((7, 5), False, "16-mixed"),
        ((7, 0), False, "16-mixed"),
        ((6, 1), False, "32-true"),
    ],
)
@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "auto"])
def test_generations_of_gpus(
    monkeypatch: pytest.MonkeyPatch,
    machine: Any,
    capability: tuple[int, int],
    units: bool,
    becomes: str,
    accelerator: str,
) -> None:
    machine(OLD)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    asked = {"including_emulation": False}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **given: given == asked and units)
    assert settled("auto", accelerator) == (becomes, [f"precision: {becomes} ({notes(units)})"])


@pytest.mark.parametrize(("accelerator", "said"), [("cpu", True), ("gpu", False), ("auto", False)])
def test_a_gpu_that_is_left_idle_is_named(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, said: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    note = "device: a CPU, and the GPU of this machine is idle; trainer=gpu uses it"
    assert (note in settled("32-true", accelerator)[1]) == said


def notes(units: bool) -> str:
    return f"a GPU has {'' if units else 'no '}bfloat16 units"


@pytest.mark.parametrize("wanted", ["bf16-mixed", "bf16-true"])
def test_what_a_machine_emulates_is_said_once(machine: Any, wanted: str) -> None:
    measured = machine(OLD, 14.6)
    chosen, notes = settled(wanted)
    assert chosen == wanted and measured == ["cpu"]
    assert notes == [
        f"warning: trainer.precision={wanted} is emulated: a step takes 14.6 times as long as with "
        "32-true here; trainer.precision=auto chooses"
    ]


def test_what_a_machine_computes_needs_no_word(machine: Any) -> None:
    measured = machine(ZEN4)
    assert settled("bf16-mixed") == ("bf16-mixed", [])
    assert settled("32-true") == ("32-true", [])
    assert settled(None) == ("32-true", [])
    assert measured == []
    machine(SKYLAKE, 1.05)
    assert settled("bf16-mixed") == ("bf16-mixed", [])


@pytest.mark.parametrize("wanted", ["16-mixed", "16-true", 16])
def test_fp16_needs_a_gpu(machine: Any, wanted: Any) -> None:
    machine(ZEN4)
    with pytest.raises(InputError, match="needs a GPU"):
        settled(wanted)


def test_a_step_is_timed_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    steps: list[bool] = []

    def step(net: Any, images: Any, low: bool) -> float:
        steps.append(low)
        return 3.0 if low else 2.0

    monkeypatch.setattr(precision, "_step", step)
    assert precision.ratio("cpu") == 1.5
    assert steps == [False, True, False, True]  # the first two are thrown away
    monkeypatch.undo()
    net = torch.nn.Conv2d(3, 4, 3)
    assert precision._step(net, torch.rand(1, 3, 8, 8), True) > 0


def test_float32_is_all_of_float32_until_the_last_thread_leaves() -> None:
    def allowed() -> bool:
        return bool(torch.backends.cudnn.allow_tf32)

    before = allowed()
    first, second = precision.exact(), precision.exact()
    with precision.exact("bf16-mixed"):
        assert allowed() == before
    for entered in (first, second):
        entered.__enter__()
        assert not allowed()
    first.__exit__(None, None, None)
    assert not allowed()
    second.__exit__(None, None, None)
    assert allowed() == before


@pytest.mark.skipif(not precision.processor_flags(), reason="only Linux names them")
def test_flags_of_this_machine_are_those_that_torch_sees() -> None:
    seen = torch.cpu.get_capabilities()
    flags = precision.processor_flags()
    for name in ("avx2", "avx512_bf16", "amx_bf16"):
        assert (name in flags) == bool(seen.get(name, False))


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_gpu_that_is_not_there_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, accelerator: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"accelerator={accelerator}: torch sees no GPU here: set"):
        settled("32-true", accelerator)
    assert settled("32-true", "auto") == ("32-true", [])
