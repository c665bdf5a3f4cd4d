from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from restore.image import from_unit
from restore.metric import classifier as shipped
from restore.metric.classifier import load_classifier, save_classifier
from restore.metric.label import OriginalLabelShare
from restore.network.classifier import Classifier
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Classifier(in_channels=1, num_classes=10, width=4).half().float()
    save_classifier(network, "toy", image_size=16, dataset="toy", accuracy=0.5, folder=tmp_path)
    return tmp_path


def test_loads_what_was_saved(saved: Path) -> None:
    torch.manual_seed(0)
    network = Classifier(in_channels=1, num_classes=10, width=4).half().float().eval()
    loaded = load_classifier("toy", saved)
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(loaded.logits(images), network(from_unit(images)))
    assert torch.equal(loaded(images), network.features(from_unit(images)))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.definition.startswith("toy-")


def test_resizes_to_what_it_was_trained_on(saved: Path) -> None:
    loaded = load_classifier("toy", saved)
    flat = torch.full((1, 1, 40, 24), 0.3)
    assert torch.allclose(loaded.logits(flat), loaded.logits(flat[:, :, :16, :16]), atol=1e-5)


def test_shrinks_by_means_and_not_by_picking_pixels(saved: Path) -> None:
    """A board of black and white pixels is grey from afar; picked pixels would be of one colour."""
    loaded = load_classifier("toy", saved)
    rows, columns = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
    board = ((rows + columns) % 2).float()[None, None]
    grey = torch.full((1, 1, 16, 16), 0.5)
    torch.testing.assert_close(loaded.logits(board), loaded.logits(grey), atol=0.02, rtol=0.02)


def test_refuses_missing_damaged_and_other_channels(saved: Path) -> None:
    with pytest.raises(InputError, match=r"classifier=nope.*toy"):
        load_classifier("nope", saved)
    with pytest.raises(InputError, match="takes 1 channels, not 3"):
        load_classifier("toy", saved).logits(torch.rand(1, 3, 16, 16))
    path = saved / "toy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        load_classifier("toy", saved)


def test_share_counts_matching_labels(
    saved: Path, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_classifier("toy", saved)
    monkeypatch.setattr("restore.metric.label.load_classifier", lambda name: loaded)
    metric = OriginalLabelShare("toy")
    target = (torch.rand(4, 1, 16, 16) * 255).round() / 255
    predicted = loaded.logits(target).argmax(dim=1)
    labels = torch.stack([predicted[0], predicted[1] + 1, predicted[2], predicted[3] - 1])
    value = metric(target, target, make_batch(target, label=labels))
    assert value.tolist() == [1, 0, 1, 0] and value.dtype == torch.float64
    assert metric.definition.startswith("original_label_share/toy-")
    with pytest.raises(InputError, match="labels"):
        metric(target, target, make_batch(target))


def test_share_judges_what_a_file_would_hold(
    saved: Path, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored image, clamped and rounded to 8 bits; never the target."""
    loaded, judged = load_classifier("toy", saved), list[torch.Tensor]()
    monkeypatch.setattr("restore.metric.label.load_classifier", lambda name: loaded)
    logits = loaded.logits
    monkeypatch.setattr(loaded, "logits", lambda seen: (judged.append(seen), logits(seen))[1])
    levels = torch.tensor([0.0, 100.0, 255.0]).repeat(6)[:16].expand(1, 1, 16, 16)
    restored = (levels + torch.tensor([-30.0, 0.4, 30.0]).repeat(6)[:16]) / 255
    target = torch.zeros(1, 1, 16, 16)
    OriginalLabelShare("toy")(restored, target, make_batch(target, label=torch.zeros(1)))
    torch.testing.assert_close(judged[0], levels.double() / 255)


def test_shipped_files_load_and_stay_small() -> None:
    for path in shipped.WEIGHTS.glob("*.safetensors"):
        assert load_classifier(path.stem).num_features > 0
        assert path.stat().st_size < 2_000_000
