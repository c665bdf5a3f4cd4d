"""Python's garbage collector, which costs a start a second.

Modules define thousands of objects that live as long as the process. The collector looks through
all of them whenever a few hundred more are there.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused(lasting: bool = True) -> Iterator[None]:
    """While it lasts, cycles of dead objects stay in memory: for imports, never for batches.

    lasting: what is there at its end is not looked through again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if lasting:
                gc.freeze()
            gc.enable()
