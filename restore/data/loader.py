"""The one way in which batches are loaded."""

import warnings

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from restore.data.split import Raw, collate
from restore.data.worker import leave_signals_to_the_trainer
from restore.types import InputError


def loader(
    samples: Dataset[Raw],
    order: Sampler[tuple[int, int]] | None,
    batch_size: int,
    num_workers: int,
    drop_last: bool,
) -> DataLoader[Raw]:
    """Batches in this order; None is that of `samples`."""
    # More workers than cores are slow and no mistake: their number is part of a stream's order,
    # and the same config has to give the same weights on any machine.
    warnings.filterwarnings("ignore", r"This DataLoader will create \d+ worker processes")
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=order,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        drop_last=drop_last,
        worker_init_fn=leave_signals_to_the_trainer,
        persistent_workers=num_workers > 0,
        # Without one of its own the loader draws from the global generator at every epoch.
        generator=torch.Generator(),
    )


def check_batch(num_samples: int, batch_size: int) -> None:
    """Raises InputError where a process has fewer training samples than one batch takes."""
    if num_samples < batch_size:
        raise InputError(
            f"data.batch_size={batch_size} is more than the {num_samples} training "
            "samples of a process: lower it, or raise data.train_repeat (of a stream, "
            "data.source.samples_per_epoch)"
        )
