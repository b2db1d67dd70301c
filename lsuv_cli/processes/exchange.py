"""The exchange itself: torch.distributed's collectives, with gloo on the CPU and NCCL on CUDA."""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from lsuv_cli.core.errors import ProcessError, UsageError
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.processes.diagnosis import unlike
from lsuv_cli.processes.launch import ProcessRank
from lsuv_cli.processes.network import interface_towards
from lsuv_cli.processes.rendezvous import Rendezvous
from lsuv_cli.processes.timeouts import call_within, keep_alive

if TYPE_CHECKING:
    import torch
    from torch.distributed import Work

# How much later than torch's own time-out ours is: torch's leaves the group in order.
GRACE_SECONDS = 5.0
SHORTEST_NAP, LONGEST_NAP = 5e-5, 5e-3


class ExchangeKind(IntEnum):
    """What an exchange carries."""

    NUMBERS = 0
    TEXT = 1


class TorchGroup:
    """The processes of a run, through torch.distributed's default process group.

    Attributes:
        rank: this process's number, from 0.
        size: how many processes there are.
        bytes_exchanged: bytes that this process has received from the others, headers included.
    """

    def __init__(self, rendezvous: Rendezvous, device_label: str, timeout_seconds: float) -> None:
        self.rank = rendezvous.process.rank
        self.size = rendezvous.process.size
        self.bytes_exchanged = 0
        self._rendezvous = rendezvous
        self._timeout_seconds = timeout_seconds
        self._device = exchange_device(rendezvous.process, device_label)
        self._steps = 0
        self._is_under_way = False
        self._open()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def gather(self, values: Float64Array) -> list[Float64Array]:
        """Every process's vector, in the order of their ranks.

        Args:
            values: (n,) float64, of the same n in every process.

        Returns:
            `size` arrays, (n,) float64, the same in every process.

        Raises:
            ProcessError: another process failed, did not answer, or has another n.
        """
        import torch

        lengths = self._announce(ExchangeKind.NUMBERS, values.size)
        for rank, length in enumerate(lengths):
            if length != lengths[0]:
                theirs, ours = f"{length} numbers", str(lengths[0])
                raise ProcessError(unlike(rank, self.size, theirs, ours))
        if not values.size:
            return [values.copy() for _ in lengths]
        vector = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        gathered = self._exchange(vector.to(self._device))
        return [other.cpu().numpy() for other in gathered]

    def gather_text(self, text: str) -> list[str]:
        """Every process's text, in the order of their ranks; they may differ in length.

        Raises:
            ProcessError: another process failed or did not answer.
        """
        import torch

        encoded = np.frombuffer(text.encode(), np.uint8)
        lengths = self._announce(ExchangeKind.TEXT, encoded.size)
        if not max(lengths):
            return ["" for _ in lengths]
        padded = np.zeros(max(lengths), np.uint8)
        padded[: encoded.size] = encoded
        gathered = self._exchange(torch.from_numpy(padded))
        return [
            other.numpy()[:length].tobytes().decode()
            for other, length in zip(gathered, lengths, strict=True)
        ]

    def close(self) -> None:
        """Leave the group, so that whoever waits for this process in an exchange fails at once."""
        import torch.distributed as dist

        world = dist.group.WORLD
        if world is None:
            return
        # Destroying a group waits for what is under way in it, for as long as the time-out is,
        # and so would the interpreter's end; the operating system closes connections faster.
        if self._is_under_way:
            keep_alive(world)
            return
        try:
            call_within(GRACE_SECONDS, dist.destroy_process_group)
        except (RuntimeError, TimeoutError):
            keep_alive(world)

    def _open(self) -> None:
        import torch.distributed as dist

        if "GLOO_SOCKET_IFNAME" not in os.environ:
            address = self._rendezvous.address
            interface = interface_towards(address.host, address.port)
            if interface is not None:
                os.environ["GLOO_SOCKET_IFNAME"] = interface
        backend = "gloo"
        if self._device.type == "cuda":
            # NCCL's own watchdog would abort the process, with a stack trace for a sentence.
            os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
            backend = "cpu:gloo,cuda:nccl"
        store = self._rendezvous.store_for_exchange()

        def connect() -> None:
            dist.init_process_group(
                backend,
                store=store,
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self._timeout_seconds),
            )

        try:
            call_within(self._timeout_seconds + GRACE_SECONDS, connect)
        except (RuntimeError, TimeoutError) as error:
            raise ProcessError(self._rendezvous.why_failed(_detail(error))) from error

    def _announce(self, kind: ExchangeKind, length: int) -> list[int]:
        """Come to the next exchange.

        NCCL has no way to leave an exchange to which somebody does not come, and gloo none to find
        that vectors differ in length. So this always comes first, and always through gloo.

        Returns:
            The length that each process announces.
        """
        import torch

        self._steps += 1
        self._rendezvous.arrive(self._steps)
        headers = self._exchange(torch.tensor([kind, length], dtype=torch.int64))
        kinds, lengths = zip(*(header.tolist() for header in headers), strict=True)
        for rank, other in enumerate(kinds):
            if other != kinds[0]:
                theirs, ours = ExchangeKind(other).name.lower(), ExchangeKind(kinds[0]).name.lower()
                raise ProcessError(unlike(rank, self.size, theirs, ours))
        return list(lengths)

    def _exchange(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        import torch
        import torch.distributed as dist

        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        self._is_under_way = True
        try:
            work = dist.all_gather(gathered, tensor, async_op=True)
            self._await(work)
        except RuntimeError as error:
            self._is_under_way = False
            raise ProcessError(self._rendezvous.why_failed(_detail(error))) from error
        except TimeoutError as error:
            raise ProcessError(self._rendezvous.why_failed(_detail(error))) from error
        self._is_under_way = False
        self.bytes_exchanged += tensor.nbytes * (self.size - 1)
        return gathered

    def _await(self, work: Work) -> None:
        # Waiting in torch would keep Ctrl-C and SIGTERM from being seen until it is over.
        deadline = time.monotonic() + self._timeout_seconds + GRACE_SECONDS
        nap = SHORTEST_NAP
        while not work.is_completed():
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
        work.wait()


def exchange_device(process: ProcessRank, label: str) -> torch.device:
    """Where vectors are exchanged: on a GPU of this process's own, or on the CPU.

    Args:
        process: this process's rank.
        label: where it computes: `cpu`, or `cuda` with or without a number.

    Raises:
        UsageError: the machine has fewer GPUs than processes.
    """
    import torch
    import torch.distributed as dist

    # ONNX Runtime may compute on a GPU that a CPU build of torch knows nothing of.
    if not (label.startswith("cuda") and torch.cuda.is_available() and dist.is_nccl_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count()
    # Slurm can show each task only the GPU that is its own.
    index = 0 if count == 1 else process.local_rank
    if index >= count:
        raise UsageError(
            f"{process.name} has no GPU of its own: there are {count} here, and it is number "
            f"{process.local_rank} of its machine; start at most {count} a machine, or give "
            "--device cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _detail(error: BaseException) -> str:
    """What torch says, without the line of its source, its advice and its ports."""
    text = re.sub(r"\[/\S+\] ", "", str(error).partition("\n")[0])
    return text.partition(". ")[0].partition(", remote=")[0] or type(error).__name__
