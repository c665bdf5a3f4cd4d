"""Whether a restored image still shows what it showed."""

from torch import Tensor

from restore.metric.base import Metric, eight_bit
from restore.metric.classifier import load_classifier
from restore.types import Batch, InputError


class OriginalLabelShare(Metric):
    """1 where the shipped classifier gives the restored image its original label, else 0."""

    name = "original_label_share"
    higher_is_better = True

    def __init__(self, classifier: str) -> None:
        self.classifier = load_classifier(classifier)
        self.definition = f"original_label_share/{self.classifier.definition}/uint8/per-image/v1"

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        if "label" not in batch:
            raise InputError("metric original_label_share needs labels: this data source has none")
        logits = self.classifier.to(restored.device).logits(eight_bit(restored))
        return (logits.argmax(dim=1) == batch["label"]).double()
