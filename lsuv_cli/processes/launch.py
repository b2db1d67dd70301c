"""The launcher's environment: of torchrun, srun or Kubernetes, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsuv_cli.core.errors import UsageError

RENDEZVOUS_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """A process's rank among those of the run.

    Attributes:
        rank: its number, from 0.
        size: how many processes there are; at least 2.
        local_rank: its number among those on this machine, from 0.
        local_size: how many are on this machine; 1 where the launcher does not say.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1

    @property
    def name(self) -> str:
        """Name of this process in messages."""
        return f"process {self.rank} of {self.size}"


@dataclass(frozen=True, slots=True)
class Address:
    """The address at which the processes of a run find each other.

    Attributes:
        host: name or address of the machine.
        port: TCP port.
        is_hosted_by_launcher: whether the launcher listens there, and not the first process.
        attempt: how many times the launcher has restarted these processes.
    """

    host: str
    port: int
    is_hosted_by_launcher: bool = False
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def rank_of(environ: Mapping[str, str]) -> ProcessRank | None:
    """Return this process's rank, from its launcher's environment variables.

    Returns:
        None where no launcher started several processes.

    Raises:
        UsageError: a variable is no number, or the rank is not below the size.
    """
    if environ.get("RANK") and environ.get("WORLD_SIZE"):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    elif _is_slurm_task(environ):
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "LOCAL_WORLD_SIZE")
    else:
        return None
    rank, size, local_rank, local_size = (
        _number(environ, name, default)
        for name, default in zip(names, (None, None, 0, 1), strict=True)
    )
    if rank >= size:
        raise UsageError(
            f"{names[0]} is {rank}, but must be below {names[1]}, which is {size}: the launcher's "
            "variables contradict each other"
        )
    return ProcessRank(rank, size, local_rank, local_size) if size > 1 else None


def rendezvous_address(environ: Mapping[str, str], size: int) -> Address:
    """Return the address at which the processes meet.

    Args:
        environ: the environment.
        size: how many processes there are.

    Raises:
        UsageError: the address or the port is missing, or the port is none.
    """
    missing = [name for name in RENDEZVOUS_VARIABLES if not environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        how = (
            "export them in the batch script, as MASTER_ADDR=$(scontrol show hostnames "
            "$SLURM_JOB_NODELIST | head -n 1) and MASTER_PORT=29500"
            if _is_slurm_task(environ)
            else "set them to the first process's machine and a free port there, or use torchrun"
        )
        raise UsageError(
            f"{size} processes were started, but {' and '.join(missing)} {verb} not set: {how}"
        )
    port = _number(environ, "MASTER_PORT", None)
    if not 0 < port <= LARGEST_PORT:
        raise UsageError(f"MASTER_PORT is {port}, but must be from 1 to {LARGEST_PORT}")
    return Address(
        environ["MASTER_ADDR"],
        port,
        is_hosted_by_launcher=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=_number(environ, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _is_slurm_task(environ: Mapping[str, str]) -> bool:
    # A shell inside an allocation inherits SLURM_NTASKS and SLURM_PROCID, so that these two would
    # make a plain `lsuv` wait for processes nobody has started. Only a step tells its own size,
    # and one that was given a terminal (srun --pty) is a shell for a person.
    return (
        bool(environ.get("SLURM_STEP_ID"))
        and bool(environ.get("SLURM_PROCID"))
        and environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
        and not environ.get("SLURM_PTY_PORT")
    )


def _number(environ: Mapping[str, str], name: str, default: int | None) -> int:
    text = environ.get(name) or ("" if default is None else str(default))
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} is {text!r}, but must be a whole number, 0 or more")
    return int(text)
