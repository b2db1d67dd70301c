"""The exchange: torch.distributed's collectives, by gloo on the CPU and NCCL on CUDA."""

from __future__ import annotations

import time
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from lsuv_cli.core.errors import ProcessError
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.processes.failure_messages import different_work
from lsuv_cli.processes.process_group import (
    GRACE_SECONDS,
    exchange_device,
    join_process_group,
    short_reason,
)
from lsuv_cli.processes.rendezvous import Rendezvous
from lsuv_cli.processes.timeouts import call_within, keep_alive

if TYPE_CHECKING:
    import torch
    from torch.distributed import Work

SHORTEST_NAP, LONGEST_NAP = 5e-5, 5e-3


class ExchangeKind(IntEnum):
    """The type of data that an exchange carries."""

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
        join_process_group(rendezvous, self._device, timeout_seconds)

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes and reports."""
        return self.rank == 0

    def gather(self, values: Float64Array) -> list[Float64Array]:
        """Gather every process's vector, in the order of their ranks.

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
                raise ProcessError(different_work(rank, self.size, theirs, ours))
        if not values.size:
            return [values.copy() for _ in lengths]
        vector = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        gathered = self._exchange(vector.to(self._device))
        return [other.cpu().numpy() for other in gathered]

    def gather_text(self, text: str) -> list[str]:
        """Gather every process's text, in the order of their ranks; lengths may differ.

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
        # Destroying a group waits for the exchange under way until it times out, and so would the
        # end of the interpreter; the operating system closes connections at once.
        if self._is_under_way:
            keep_alive(world)
            return
        try:
            call_within(GRACE_SECONDS, dist.destroy_process_group)
        except (RuntimeError, TimeoutError):
            keep_alive(world)

    def _announce(self, kind: ExchangeKind, length: int) -> list[int]:
        """Announce this process's part in the next exchange, and hear the others' parts.

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
                raise ProcessError(different_work(rank, self.size, theirs, ours))
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
            raise ProcessError(self._rendezvous.why_failed(short_reason(error))) from error
        except TimeoutError as error:
            raise ProcessError(self._rendezvous.why_failed(short_reason(error))) from error
        self._is_under_way = False
        self.bytes_exchanged += tensor.nbytes * (self.size - 1)
        return gathered

    def _await(self, work: Work) -> None:
        # A wait inside torch would delay Ctrl-C and SIGTERM until it ends.
        deadline = time.monotonic() + self._timeout_seconds + GRACE_SECONDS
        nap = SHORTEST_NAP
        while not work.is_completed():
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
        work.wait()
