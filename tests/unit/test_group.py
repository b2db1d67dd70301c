"""The group of one process, and the environment variables of launchers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.processes.failure_messages import (
    can_not_listen,
    did_not_answer,
    did_not_come,
    still_working,
    unreachable,
)
from lsuv_cli.processes.launch import Address, ProcessRank, rank_of, rendezvous_address
from lsuv_cli.processes.process_group import exchange_device
from lsuv_cli.processes.run import Run

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "2",
}


def test_alone() -> None:
    group: Group = SingleProcess()
    values = np.array([1.0, np.nan])
    (gathered,) = group.gather(values)
    assert gathered is values
    assert group.gather_text("é") == ["é"]
    assert (group.rank, group.size, group.is_first, group.bytes_exchanged) == (0, 1, True, 0)


def test_alone_without_torch_and_numpy() -> None:
    code = (
        "import sys\n"
        "from lsuv_cli.processes.run import Run\n"
        "with Run({}) as run, run.open_group('cpu', 1.0) as group:\n"
        "    print(group.size, {'torch', 'numpy'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "1 set()\n"


@pytest.mark.parametrize(
    ("environ", "process"),
    [
        ({}, None),
        (TORCHRUN, ProcessRank(3, 4, 1, 2)),
        ({**TORCHRUN, **SRUN}, ProcessRank(3, 4, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "2"}, ProcessRank(0, 2)),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}, None),
        ({"WORLD_SIZE": "4"}, None),
        (SRUN, ProcessRank(2, 4, 2)),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({**SRUN, "SLURM_PTY_PORT": "40000"}, None),
        ({name: SRUN[name] for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID")}, None),
    ],
    ids=[
        "nothing",
        "torchrun",
        "torchrun in srun",
        "Kubernetes",
        "one process",
        "only the meeting point",
        "only the size",
        "srun",
        "srun of one task in a larger allocation",
        "a terminal from srun --pty",
        "a batch script",
    ],
)
def test_rank(environ: dict[str, str], process: ProcessRank | None) -> None:
    assert rank_of(environ) == process


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "x"}, "RANK is 'x', but must be a whole number, 0 or more"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2', but must be a whole number, 0 or more"),
        ({"RANK": "4"}, "RANK is 4, but must be below WORLD_SIZE, which is 4"),
    ],
)
def test_rank_that_can_not_be(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rank_of({**TORCHRUN, **changes})


def test_address() -> None:
    assert rendezvous_address(TORCHRUN, 4) == Address("node0", 29500)
    agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert rendezvous_address({**TORCHRUN, **agent}, 4) == Address("node0", 29500, True, 2)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (SRUN, r"4 processes were started, but MASTER_ADDR and MASTER_PORT are not set: export "),
        ({**SRUN, "MASTER_ADDR": "a"}, r"but MASTER_PORT is not set: export them in the batch scr"),
        ({"RANK": "0"}, r"MASTER_PORT are not set: set them to the first process's machine and"),
        (
            {**TORCHRUN, "MASTER_PORT": "70000"},
            r"MASTER_PORT is 70000, but must be from 1 to 65535",
        ),
    ],
)
def test_address_that_is_missing(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rendezvous_address(environ, 4)


def test_who_reports_before_the_processes_have_met() -> None:
    error = DataError("")
    assert Run({}).reports(error)
    assert not Run(TORCHRUN).reports(error)
    assert Run({**TORCHRUN, "RANK": "0"}).reports(error)
    assert Run({**TORCHRUN, "RANK": "x"}).reports(error)


def test_whose_message_it_is() -> None:
    assert Run({}).prefix == ""
    assert Run({**TORCHRUN, "RANK": "0"}).prefix == ""
    assert Run(TORCHRUN).prefix == "process 3 of 4: "
    assert Run({**TORCHRUN, "RANK": "x"}).prefix == ""


def test_sentences() -> None:
    address = Address("node0", 29500)
    assert did_not_answer([2], 4, 5).startswith(
        "process 2 of 4 ended, or did not answer within 5 s: see"
    )
    assert did_not_answer([1, 2, 3], 4, 0.5).startswith(
        "processes 1, 2 and 3 of 4 ended, or did not answer"
    )
    assert still_working([1, 2], 4, 600) == (
        "processes 1 and 2 of 4 were still at work when the others had waited 600 s: give a longer "
        "--timeout"
    )
    assert did_not_come([3], 4, 600, address).startswith(
        "process 3 of 4 did not come to node0:2950"
    )
    assert unreachable(4, address, 5).startswith("process 0 of 4, which hosts the rendezvous")
    launcher = Address("node0", 29500, is_hosted_by_launcher=True)
    assert unreachable(4, launcher, 5).startswith("the launcher ended, or did not an")
    assert "give a free port" in can_not_listen(address, "in use")


@pytest.mark.parametrize(
    ("label", "gpus", "process", "device"),
    [
        ("cpu", 8, ProcessRank(5, 16, 5), "cpu"),
        ("cuda", 8, ProcessRank(13, 16, 5), "cuda:5"),
        ("cuda:0", 8, ProcessRank(13, 16, 5), "cuda:5"),
        ("cuda", 1, ProcessRank(13, 16, 5), "cuda:0"),
        ("cuda", 0, ProcessRank(13, 16, 5), "cpu"),
    ],
    ids=["CPU", "a GPU a process", "number given", "only its own GPU is visible", "CPU build"],
)
def test_where_vectors_are_exchanged(
    monkeypatch: pytest.MonkeyPatch, label: str, gpus: int, process: ProcessRank, device: str
) -> None:
    pretend_gpus(monkeypatch, gpus)
    assert str(exchange_device(process, label)) == device


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(UsageError, match=r"process 3 of 4 has no GPU of its own: there are 2 here"):
        exchange_device(ProcessRank(3, 4, 3), "cuda")


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("torch.cuda.set_device", lambda _index: None)
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: True)
