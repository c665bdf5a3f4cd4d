"""The other processes of a run: what they have, and what an error must know of them.

Importing this module must stay instant, as that of `restore.errors`.
"""

import os
import sys
from datetime import timedelta
from typing import Any

_WAITS = timedelta(seconds=5)  # for the store of a launcher
# Keys of a store: how many processes of a run had an error to tell, and the code of the first.
_TOLD, _CODE = "restore/failed", "restore/code"
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def group() -> Any:
    """torch.distributed, if this process is one of a group."""
    found: Any = sys.modules.get("torch.distributed")
    return found if found is not None and found.is_available() and found.is_initialized() else None


def gather(own: Any, world_size: int) -> list[Any]:
    """What every process gives, in the order of ranks.

    Never in a hook around batches: Lightning calls none where a process has no image, and the
    others would wait for it for ever.
    """
    parts = [own] * world_size
    if world_size > 1:
        group().all_gather_object(parts, own)
    return parts


def first_to_tell(code: int) -> bool:
    """Whether no other process has told an error; what the code of the first one was is kept."""
    try:
        store = _store()
        if store is None:
            return True
        if store.add(_TOLD, 1) > 1:
            return False
        store.set(_CODE, str(code))
    except RuntimeError:  # the process that counts is gone, and may have said nothing
        pass
    return True


def code_of_another(error: Exception) -> int | None:
    """The exit code of the process whose end this error tells of, if it has said why."""
    if not isinstance(error, RuntimeError) or not any(words in str(error) for words in _GONE):
        return None
    try:
        store = _store()
        return int(store.get(_CODE)) if store is not None and store.check([_CODE]) else None
    except RuntimeError:
        return None


def _store() -> Any:
    """What the processes of a run share; None for a single one."""
    distributed = group()
    if distributed is None:
        return _launchers_store()
    return distributed.distributed_c10d._get_default_store()


def _launchers_store() -> Any:
    """What torchrun keeps for its processes, which have no group yet; None without torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch import distributed

    stores: Any = distributed
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = stores.TCPStore(*place, is_master=False, timeout=_WAITS)
    return stores.PrefixStore(f"restore/attempt/{attempt}", store)
