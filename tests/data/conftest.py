import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder of RESTORE_DATA; its tests are marked `data` and skipped without it."""
    if "RESTORE_DATA" not in os.environ:
        pytest.skip("RESTORE_DATA is not set")
    return Path(os.environ["RESTORE_DATA"])
