"""Processes of torchrun agree on one folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from entry import ROOT

CODE = """
import os
from pathlib import Path
from restore.sweep import rendezvous
own = Path.cwd() / f"run{os.environ['RANK']}"
(own / ".hydra").mkdir(parents=True)
print("folder", rendezvous.shared(own).name, flush=True)
"""


@pytest.mark.slow
def test_two_nodes_share_a_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "script.py").write_text(CODE)
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-id=7", "--rdzv-endpoint=127.0.0.1:29613"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", *rendezvous]
    nodes = [
        subprocess.Popen(
            [*command, "--nproc-per-node=1", "script.py"],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [node.communicate(timeout=120)[0] for node in nodes] == ["folder run0\n"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run0", "script.py"]


def test_without_torchrun_a_folder_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restore.sweep import rendezvous

    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert rendezvous.shared(tmp_path) == tmp_path
