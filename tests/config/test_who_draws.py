"""A sampler and a guidance are refused where the task would never call them."""

from typing import Any

import pytest

from restore.config.compose import composed
from restore.config.drawing import check_drawing
from restore.types import InputError

GAN = "experiment=inpaint_photos"


@pytest.mark.parametrize("key", ["sampler=ddim", "guidance=cfg"])
def test_a_task_without_a_sampler_takes_none(key: str) -> None:
    name = key.partition("=")[0]
    with pytest.raises(InputError, match=f"{name}=.* of task=diffusion: InpaintingGAN has none"):
        check_drawing(composed("train", [GAN, key]))


@pytest.mark.parametrize("line", [[], ["sampler=ddim", "guidance=cfg"], [GAN]])
def test_what_is_called_or_left_out_stands(line: list[str]) -> None:
    check_drawing(composed("train", line))


def test_a_task_of_somebodys_own_may_draw() -> None:
    own: dict[str, Any] = {"task": {"_target_": "mylab.task.Draws", "sampler": {}}, "sampler": {}}
    check_drawing(own)
    with pytest.raises(InputError, match="Draws has none"):
        check_drawing({**own, "guidance": {}})
    check_drawing({**own, "guidance": None})
