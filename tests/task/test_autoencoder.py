"""An autoencoder: its losses by hand, its draws by key, the scale of its latents."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from players import FACTS, SIZE, adversary, trainer
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.utils.data import DataLoader

from restore.loss.content import Pixels
from restore.network.autoencoder_kl import AutoencoderKL
from restore.task.autoencoder import Autoencoder
from restore.types import Batch, Facts, InputError

SGD = partial(torch.optim.SGD, lr=0.05)


def autoencoder(facts: Facts = FACTS, **settings: Any) -> Autoencoder:
    torch.manual_seed(0)
    network = partial(AutoencoderKL, width=4, multipliers=(1, 2))
    return Autoencoder(
        facts, network, **{"loss": {"pixels": Pixels()}, "optimizer": SGD, **settings}
    )


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def batch(count: int = 6) -> Batch:
    index = torch.arange(count)
    return Batch(target=images(count), input=images(count), index=index, name=[""] * count)


def loader(count: int) -> DataLoader[Any]:
    pictures = images(count)
    return DataLoader(
        [{"target": one, "input": one, "index": i} for i, one in enumerate(pictures)], batch_size=4
    )


@pytest.mark.parametrize("latent_channels", [3, 4])
def test_loss_by_hand(latent_channels: int) -> None:
    network = partial(AutoencoderKL, width=4, multipliers=(1, 2), latent_channels=latent_channels)
    task = Autoencoder(FACTS, network, {"pixels": Pixels()}, kl_weight=0.01, optimizer=SGD)
    task, data = task.eval(), batch()
    terms = task.losses(data, None)
    mean, log_variance = task.network.encode(data["input"])
    made = task.network.decode(mean)
    torch.testing.assert_close(terms["l1"], (made - data["target"]).abs().mean())
    latents = Normal(mean, (0.5 * log_variance).exp())
    nats = kl_divergence(latents, Normal(torch.zeros(()), torch.ones(()))).sum((1, 2, 3))
    torch.testing.assert_close(terms["kl"], 0.01 * (nats / SIZE**2).mean())


def test_training_draws_latents_by_sample_and_update() -> None:
    task, data = autoencoder(), batch()
    first = task.predict(data)[2]
    assert torch.equal(first, task.predict(data)[2])
    some: Batch = {**data, "input": data["input"][2:], "index": data["index"][2:]}
    torch.testing.assert_close(task.predict(some)[2], first[2:])
    task.updates = 1
    assert (task.predict(data)[2] - first).abs().max() > 1e-3


def test_restoring_decodes_the_mean_of_images_of_any_size() -> None:
    task = autoencoder().eval()
    image = torch.rand(2, 1, 7, 5) * 2 - 1
    data: Any = {"input": image, "index": torch.arange(2), "name": ["a", "b"]}
    restored = task.restore(data, 2)
    assert restored.shape == (2, 2, 1, 7, 5)
    even = torch.cat([image, image[..., -2:-1, :]], dim=2)
    even = torch.cat([even, even[..., -2:-1]], dim=3)
    expected = task.network.decode(task.network.encode(even)[0])[..., :7, :5]
    torch.testing.assert_close(restored[:, 0], expected)


def test_tiles_and_views_of_images_are_decoded() -> None:
    """Of so small an image each tile reads all, and the one view is the image as it lies."""
    task, data = autoencoder().eval(), batch()
    whole = task.restore(data)
    with task.within(SIZE // 2):
        torch.testing.assert_close(task.restore(data), whole)
    with task.ensembled([(0, False)]):
        torch.testing.assert_close(task.restore(data), whole)


@pytest.mark.parametrize("settings", [{}, {"adversary": adversary(conditional=False)}])
def test_validation_measures_the_latents(tmp_path: Path, settings: Any) -> None:
    """Over all images of a validation, by the weights that it validated."""
    task = autoencoder(**settings)
    fitting = trainer(tmp_path, max_epochs=1, limit_train_batches=2)
    fitting.fit(task, loader(8), loader(7))
    with torch.no_grad():
        mean = task.network.encode(images(7))[0].double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(task.latent_mean.double(), mean.mean(1), rtol=1e-5, atol=1e-6)
    deviation = mean.std(1, correction=0)
    torch.testing.assert_close(task.latent_std.double(), deviation, rtol=1e-4, atol=1e-6)
    state = task.state_dict()
    assert torch.equal(state["latent_mean"], task.latent_mean) and "latent_std" in state
    assert not any("latent" in name for name in task.network.state_dict())


def test_what_it_cannot_learn_from() -> None:
    data = batch()
    with pytest.raises(InputError, match="use degradation=unchanged"):
        autoencoder().check({**data, "input": data["input"] + 0.1})
    with pytest.raises(InputError, match="images of 9 px are not divisible by 2"):
        autoencoder(Facts(1, 1, 9, None)).check()
    with pytest.raises(InputError, match=r"kl_weight=-1\.0 must be at least 0"):
        autoencoder(kl_weight=-1.0)
    autoencoder().check(data)


def test_no_divergence_may_be_asked_for() -> None:
    assert autoencoder(kl_weight=0.0).losses(batch(), None)["kl"] == 0
    with pytest.raises(InputError, match="kl_weight=-1"):
        autoencoder(kl_weight=-1.0)
