"""A published blind denoiser as a prior, and networks that estimate the level of their noise."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import save_file
from torch import Tensor

from restore.config.compose import composed
from restore.degradation.operator import Downsample
from restore.diffusion.implicit import ImplicitPrior
from restore.evaluation import load
from restore.evaluation.published import Published
from restore.evaluation.published_prior import PublishedPrior
from restore.evaluation.results import row_of
from restore.evaluation.runner import evaluate
from restore.network.bf_cnn import BFCNN
from restore.network.ffdnet import FFDNet
from restore.network.published_denoiser import PublishedDenoiser
from restore.types import InputError, Observation


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    save_file(BFCNN(1, width=4, depth=3).state_dict(), tmp_path / "w.safetensors")
    return tmp_path


def observation(channels: int = 1) -> Observation:
    image = torch.linspace(-1, 1, 2 * channels * 64).view(2, channels, 8, 8)
    hole = torch.zeros(2, 1, 8, 8)
    hole[..., 4:] = 1
    return Observation(
        input=image * (1 - hole), hole=hole, index=torch.tensor([3, 4]), name=["a", "b"]
    )


def prior(**changes: float) -> PublishedPrior:
    sampler = ImplicitPrior(step=0.2, beta=0.2, max_calls=20)
    return PublishedPrior(BFCNN(1, width=4, depth=3), "w.safetensors", sampler)


def test_the_network_has_no_constants() -> None:
    """Mohan et al. 2020: a positive factor goes through the network unchanged."""
    network = BFCNN(3, width=8, depth=4)
    y = torch.rand(2, 3, 9, 7)
    torch.testing.assert_close(network(5 * y, y), 5 * network(y, y))
    assert list(network.state_dict()) == [f"conv{k}.weight" for k in range(4)]


def test_samples_keep_known_pixels_and_differ_in_the_hole(folder: Path) -> None:
    seen, made = observation(), prior()
    with torch.no_grad():
        samples = made(seen, 2)
        assert torch.equal(samples, prior()(seen, 2))
    assert samples.shape == (2, 2, 1, 8, 8)
    assert torch.equal(samples[..., :4], seen["input"][:, None, :, :, :4].expand(2, 2, 1, 8, 4))
    assert not torch.equal(samples[:, 0], samples[:, 1])
    single = Observation(
        input=seen["input"][1:], hole=seen["hole"][1:], index=seen["index"][1:], name=["b"]
    )
    with torch.no_grad():
        torch.testing.assert_close(prior()(single, 2), samples[1:])
    assert len(made.calls) == 4


def test_an_operator_is_kept_as_holes_are(folder: Path) -> None:
    """Every sample, measured again, is what was measured."""
    operator = Downsample(4)
    y = torch.linspace(-0.8, 0.8, 8).view(2, 1, 2, 2)
    seen = observation()
    del seen["hole"]
    seen["operator"], seen["input"] = operator, operator.shown(y, 8, 8)
    with torch.no_grad():
        samples = prior()(seen, 2)
    assert samples.shape == (2, 2, 1, 8, 8)
    again = operator.forward(samples.flatten(0, 1)).view(2, 2, 1, 2, 2)
    torch.testing.assert_close(again, y[:, None].expand_as(again), rtol=0, atol=1e-5)
    seen["sigma"] = torch.tensor([0.0, 0.1])
    with pytest.raises(InputError, match="without noise"):
        prior().check(seen)


def test_what_it_cannot_restore_is_refused(folder: Path) -> None:
    without = observation()
    del without["hole"]
    with pytest.raises(InputError, match="needs to know what was measured"):
        prior()(without, 1)
    with pytest.raises(InputError, match="makes images of 1 channels"):
        prior().check(observation(3))
    with pytest.raises(InputError, match="FFDNet must be told the noise level"):
        PublishedPrior(FFDNet(1), "w.safetensors", ImplicitPrior())
    (folder / "x.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(InputError, match="is no safetensors file"):
        PublishedPrior(BFCNN(1), "x.safetensors", ImplicitPrior())
    with pytest.raises(InputError, match="self_ensemble=true: mine is a prior and draws"):
        prior().method("mine", self_ensemble=True)


def test_a_row_says_how_many_calls_a_sample_took(folder: Path) -> None:
    config = composed(
        "evaluate",
        ["benchmark=photos_masks", "benchmark.photos_masks.data={limit:2,repeat:1}",
         "published=[bf_cnn_color]"],
    )  # fmt: skip
    config["published"]["bf_cnn_color"] |= {"path": "c.safetensors"}
    config["published"]["bf_cnn_color"]["network"] |= {"width": 4, "depth": 3}
    config["published"]["bf_cnn_color"]["sampler"] |= {"step": 0.5, "beta": 0.9, "max_calls": 30}
    network = BFCNN(3, width=4, depth=3)
    for weight in network.parameters():
        weight.data.mul_(0.1)  # hardly a network: it walks to what it began with
    save_file(network.state_dict(), folder / "c.safetensors")
    [method] = load.published(config)
    [benchmark] = load.benchmarks(config, method.num_calls)
    benchmark.check_method(method)
    assert method.num_calls == 30 and method.calls
    trainer = Trainer(
        accelerator="cpu",
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    row = row_of(evaluate(trainer, method, benchmark))
    assert len(method.calls) == 2  # those of the trial do not count
    assert row["nfe"] == str(round(sum(method.calls) / 2)) and int(row["nfe"]) <= 30
    assert row["sampler"] == "ImplicitPrior" and row["kind"] == "published"
    assert row["sampler_settings"] == "beta=0.9;max_calls=30;sigma_last=0.01;step=0.5"
    assert float(row["known_error"]) == 0 and row["macs"]


def test_settings_that_are_not_as_usual_are_in_the_row(folder: Path) -> None:
    said = []
    for sampler in (ImplicitPrior(), ImplicitPrior(max_calls=7, sigma_first=0.3)):
        made = PublishedPrior(BFCNN(1, width=4, depth=3), "w.safetensors", sampler)
        said.append(made.method("mine").sampling.settings)
    usual = "beta=0.01;sigma_last=0.01;step=0.01"
    assert said == [usual, "beta=0.01;max_calls=7;sigma_first=0.3;sigma_last=0.01;step=0.01"]


class Told(PublishedDenoiser):
    """Returns the level that it is told."""

    def __init__(self) -> None:
        super().__init__(3)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        return self.scale * sigma.view(-1, 1, 1, 1).expand_as(image)


def test_a_level_is_estimated_where_the_benchmark_tells_none(folder: Path) -> None:
    torch.save(Told().state_dict(), folder / "t.pth")
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.1, 0.3])
    noise = torch.randn(2, 3, 64, 64, generator=generator) * levels.view(2, 1, 1, 1)
    seen = Observation(input=noise, index=torch.arange(2), name=["a", "b"])
    with pytest.raises(InputError, match="level=estimated"):
        Published(Told(), "t.pth")(seen)
    estimating = Published(Told(), "t.pth", level="estimated")
    found = (estimating(seen)[:, 0, 0, 0] + 1) / 2
    torch.testing.assert_close(found, levels / 2, rtol=0.03, atol=0)
    assert str(estimating.method("x").sampling) == "estimated level()"
