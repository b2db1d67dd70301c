"""torch.distributed's process group: joining it, and the device on which it exchanges."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from lsuv_cli.core.errors import ProcessError, UsageError
from lsuv_cli.processes.launch import ProcessRank
from lsuv_cli.processes.network import interface_towards
from lsuv_cli.processes.rendezvous import Rendezvous
from lsuv_cli.processes.timeouts import call_within

if TYPE_CHECKING:
    import torch

# Our time-out comes this much later than torch's own, which leaves the group in order.
GRACE_SECONDS = 5.0


def join_process_group(
    rendezvous: Rendezvous, device: torch.device, timeout_seconds: float
) -> None:
    """Join torch's default process group: gloo, with NCCL beside it for a GPU.

    Args:
        rendezvous: the processes.
        device: where they exchange vectors.
        timeout_seconds: how long each exchange may take.

    Raises:
        ProcessError: not all processes join in time.
    """
    import torch.distributed as dist

    if "GLOO_SOCKET_IFNAME" not in os.environ:
        address = rendezvous.address
        interface = interface_towards(address.host, address.port)
        if interface is not None:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
    backend = "gloo"
    if device.type == "cuda":
        # NCCL's own watchdog would abort the process, with a stack trace instead of a sentence.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
        backend = "cpu:gloo,cuda:nccl"
    store = rendezvous.store_for_exchange()

    def join() -> None:
        dist.init_process_group(
            backend,
            store=store,
            rank=rendezvous.process.rank,
            world_size=rendezvous.process.size,
            timeout=timedelta(seconds=timeout_seconds),
        )

    try:
        call_within(timeout_seconds + GRACE_SECONDS, join)
    except (RuntimeError, TimeoutError) as error:
        raise ProcessError(rendezvous.why_failed(short_reason(error))) from error


def exchange_device(process: ProcessRank, label: str) -> torch.device:
    """Return the device for exchanges: a GPU of this process's own, or the CPU.

    Args:
        process: this process's rank.
        label: where it computes: `cpu`, or `cuda` with or without a number.

    Raises:
        UsageError: the machine has fewer GPUs than processes.
    """
    import torch
    import torch.distributed as dist

    # ONNX Runtime may use a GPU that a CPU build of torch does not support.
    if not (label.startswith("cuda") and torch.cuda.is_available() and dist.is_nccl_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count()
    # Slurm can make each task's own GPU the only one that it sees.
    index = 0 if count == 1 else process.local_rank
    if index >= count:
        raise UsageError(
            f"{process.name} has no GPU of its own: there are {count} here, and it is number "
            f"{process.local_rank} of its machine; start at most {count} per machine, or give "
            "--device cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def short_reason(error: BaseException) -> str:
    """Return what torch says, without the line of its source, its advice and its ports."""
    text = re.sub(r"\[/\S+\] ", "", str(error).partition("\n")[0])
    return text.partition(". ")[0].partition(", remote=")[0] or type(error).__name__
