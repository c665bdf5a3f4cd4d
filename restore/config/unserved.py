"""Classes of libraries that a config may name, and that cannot do their work here."""

from restore.types import InputError

_LIBRARIES = ("lightning.", "torch.")
_BY_HAND = "it needs Lightning's automatic optimization, and tasks here descend by themselves"
# By the name of the class: why, and what does the same.
UNSERVED = {
    "BatchSizeFinder": f"{_BY_HAND}: set data.batch_size",
    "GradientAccumulationScheduler": f"{_BY_HAND}: set task.accumulate",
    "LearningRateFinder": f"{_BY_HAND}: try rates, as -m task.optimizer.lr=1e-4,3e-4,1e-3",
    "StochasticWeightAveraging": f"{_BY_HAND}: callback.ema keeps an average of the weights, and "
    "callback=power_ema those from which averages of any length are made",
    "LBFGS": "it computes the loss several times in an update: take optimizer=adamw",
    "SparseAdam": "it takes sparse gradients alone: take optimizer=adam",
    "ReduceLROnPlateau": "it follows a metric, and rates here updates: take scheduler=cosine",
}


def check_served(target: str, path: str) -> None:
    """Raises InputError for a class of a library that would stop a training amid its work."""
    reason = UNSERVED.get(target.rpartition(".")[2])
    if reason is not None and target.startswith(_LIBRARIES):
        raise InputError(f"{path}._target_={target} is refused: {reason}")
