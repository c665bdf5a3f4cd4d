"""One run folder for all processes that torchrun has started, on any number of nodes."""

import os
from pathlib import Path
from typing import Any

from restore.folder import remove_empty

_stores: list[Any] = []  # rank 0 may be the store's server: it stays up until the process ends


def shared(folder: Path) -> Path:
    """Rank 0's folder on every rank; the others' own, which Hydra has made, are taken away.

    Hydra names a folder after the time, which no two processes share. Without torchrun the folder
    is returned as it is: Lightning hands the name to the ranks that it starts itself.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        return folder
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, _ = next(rendezvous("env://"))
    _stores.append(store)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"restore/{attempt}", store)
    if rank == 0:
        store.set("folder", str(folder))
    chosen = Path(store.get("folder").decode())
    if chosen != folder:
        remove_empty(folder)
    return chosen
