import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder of RESTORE_DATA; its tests are marked `data`."""
    return Path(os.environ["RESTORE_DATA"])
