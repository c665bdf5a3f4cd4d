"""The list of models on the home tab."""

from types import SimpleNamespace
from typing import Any

from restore.app.models import Kind
from restore.app.page import list_models


def test_a_name_may_be_broken_behind_its_words_and_nowhere_else() -> None:
    kind = Kind("Denoiser", 1234, *([False] * 6))
    models: Any = SimpleNamespace(kinds=lambda: {"my_run/2026-01": kind}, refused={"x_y"})
    *_, row, _, left_out = list_models(models).splitlines()
    assert row == r"| my\_<wbr>run/<wbr>2026\-<wbr>01 | Denoising | 1,234 |"
    assert left_out == r"- left out: x\_y; the log says why"
