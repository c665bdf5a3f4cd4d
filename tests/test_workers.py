"""How the tests run beside each other."""

import os

import torch


def test_a_worker_of_the_tests_computes_on_one_thread() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert torch.get_num_threads() == 1
