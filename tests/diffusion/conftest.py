import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_inputs() -> None:
    torch.manual_seed(0)
