from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torchmetrics.functional.image import lpips as peer

from restore.image import from_unit
from restore.metric.lpips import _BACKBONES, LPIPS
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]
NETS = ("alex", "squeeze", "vgg")


@pytest.fixture(params=NETS)
def metric(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LPIPS:
    """LPIPS on a backbone of random weights, found by name and hash like the published ones."""
    return make(request.param, tmp_path, monkeypatch)


def make(net: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LPIPS:
    torch.manual_seed(0)
    network = _BACKBONES[net].network
    with torch.device("meta"):
        built = network()
    # a classifier of VGG has 120 million parameters: one value, expanded, takes no room
    state = {
        key: torch.randn(value.shape) * value[0].numel() ** -0.5
        if key.startswith("features") and value.ndim == 4
        else torch.zeros(1).expand(value.shape)
        for key, value in built.state_dict().items()
    }
    path = folder / "weights.pth"
    torch.save(state, path)
    named = path.rename(folder / f"{net}-{sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setenv("RESTORE_WEIGHTS", str(folder))
    monkeypatch.setattr(network, "weights", named.name)
    return LPIPS(net)  # type: ignore[arg-type]


def test_is_zero_on_itself_and_agrees_with_torchmetrics(
    metric: LPIPS, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = (torch.rand(2, 3, 40, 36) * 255).round() / 255
    restored = (torch.rand(2, 3, 40, 36) * 255).round() / 255
    batch = make_batch(target)
    assert metric(target, target, batch).tolist() == [0, 0]
    net = metric.name.removeprefix("lpips_")
    monkeypatch.setattr(peer, "_get_tv_model_features", lambda *args: metric.features)
    theirs = peer._LPIPS(net=net, use_dropout=True)
    expected = theirs(restored, target, normalize=True).flatten().tolist()
    assert metric(restored, target, batch).tolist() == pytest.approx(expected, rel=1e-4)


def test_grows_with_the_damage_and_is_symmetric(metric: LPIPS, make_batch: MakeBatch) -> None:
    target = torch.rand(1, 3, 32, 32)
    noise = torch.randn(1, 3, 32, 32)
    batch = make_batch(target)
    near, far = (target + s * noise for s in (0.05, 0.2))
    assert 0 < metric(near, target, batch) < metric(far, target, batch)
    other = target.flip(3)
    assert metric(other, target, batch).item() == pytest.approx(
        metric(target, other, batch).item(), rel=1e-6
    )


def test_is_of_eight_bit_values(metric: LPIPS, make_batch: MakeBatch) -> None:
    """What lies less than half a level from an 8-bit image counts as that image."""
    target, restored = (torch.rand(2, 1, 3, 40, 36) * 255).round() / 255
    batch = make_batch(target)
    expected = metric(restored, target, batch).item()
    jittered = metric(restored + 0.4 / 255, target, batch).item()
    assert jittered == pytest.approx(expected, rel=1e-6)
    assert metric(target + 0.4 / 255, target, batch).item() == 0
    unrounded = metric.distance(from_unit(restored + 0.4 / 255), from_unit(target)).item()
    assert unrounded != pytest.approx(expected, rel=1e-5)


def test_every_head_counts(
    tmp_path: Path, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = make("alex", tmp_path, monkeypatch)
    target, restored = torch.rand(2, 1, 3, 64, 64)
    batch = make_batch(target)
    whole = metric(restored, target, batch).item()
    heads = metric.heads
    parts = []
    for kept in range(len(heads)):
        metric.heads = [h if i == kept else torch.zeros_like(h) for i, h in enumerate(heads)]
        parts.append(metric(restored, target, batch).item())
    assert min(parts) > 0 and sum(parts) == pytest.approx(whole, rel=1e-5)


def test_refuses_small_and_grey_images_and_works_at_its_minimum(
    metric: LPIPS, make_batch: MakeBatch
) -> None:
    smallest = torch.rand(1, 3, 32, 32)
    assert metric(1 - smallest, smallest, make_batch(smallest)).item() > 0
    for target, named in ((smallest[..., 1:], "32 px"), (smallest[:, :1], "RGB")):
        with pytest.raises(InputError, match=named):
            metric(target, target, make_batch(target))
        with pytest.raises(InputError, match=named):
            metric.check(*target.shape[1:])


def test_definitions_keep_the_nets_apart(metric: LPIPS) -> None:
    assert (
        metric.definition == f"lpips/{metric.name.removeprefix('lpips_')}/v0.1/uint8/per-image/v1"
    )
