"""A classifier is written in the form in which metrics load it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from restore.callback.export import ExportClassifier
from restore.image import from_unit
from restore.metric.classifier import load_classifier
from restore.network.classifier import Classifier


def test_it_is_loaded_again_and_its_record_says_how_good_it_is(tmp_path: Path) -> None:
    metrics = {"val/error_rate": torch.tensor(0.25)}
    network = Classifier(in_channels=1, num_classes=10, width=4).half().float().eval()
    trainer: Any = SimpleNamespace(
        is_global_zero=True, callback_metrics=metrics, default_root_dir=str(tmp_path)
    )
    task = SimpleNamespace(network=network, facts=SimpleNamespace(image_size=16))
    ExportClassifier("toy", "digits").on_validation_epoch_end(trainer, task)
    record = json.loads((tmp_path / "classifier" / "toy.json").read_text())
    assert (record["accuracy"], record["dataset"], record["image_size"]) == (0.75, "digits", 16)
    images = torch.rand(2, 1, 16, 16)
    loaded = load_classifier("toy", tmp_path / "classifier")
    assert torch.equal(loaded.logits(images), network(from_unit(images)))
