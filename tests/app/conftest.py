"""Models that know nothing, and an app that offers them."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, served
from small_models import write_model

NAMES = ("denoiser", "blind", "inpainter", "colorizer", "painter", "prior", "sketcher")


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of models whose weights are random."""
    folder = tmp_path_factory.mktemp("app") / "outputs"
    for name in NAMES:
        write_model(name, folder)
    return folder


@pytest.fixture(scope="module")  # one that waits takes a twentieth of a core
def server(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if importlib.util.find_spec("gradio") is None:  # only the server's process imports it
        pytest.skip("the app needs Gradio, of the extra `app`")
    with served(["--device", "cpu", str(outputs)], tmp_path_factory.mktemp("served")) as one:
        yield one
