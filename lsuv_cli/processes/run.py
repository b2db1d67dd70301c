"""The run that this process is a part of: its group, and which process reports an error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Self

from lsuv_cli.core.errors import ProcessError, Terminated, UsageError
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.processes.launch import ProcessRank, rank_of, rendezvous_address
from lsuv_cli.processes.rendezvous import Rendezvous

PRECEDENCE_SECONDS = 1.0


class Run:
    """A run of one or several processes, seen from one of them; a context manager.

    It outlives the group, since the processes must agree on who says what went wrong after the
    work has ended.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._rendezvous: Rendezvous | None = None
        self._has_begun_rendezvous = False
        self._is_reporter: bool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._rendezvous is not None:
            has_failed = self._is_reporter is not None or error is not None
            self._rendezvous.leave(failed=has_failed)
            if self._is_reporter is False:
                # The launcher blames the process that ends first.
                time.sleep(PRECEDENCE_SECONDS)

    @property
    def process(self) -> ProcessRank | None:
        """This process's rank among several; None where it is alone.

        Raises:
            UsageError: the launcher's variables can't be understood.
        """
        return rank_of(self._environ)

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes and reports: the one of rank 0.

        Raises:
            UsageError: the launcher's variables can't be understood.
        """
        process = self.process
        return process is None or process.rank == 0

    @property
    def threads(self) -> int:
        """This process's share of the machine's cores; 0, for all of them, where it is alone.

        Raises:
            UsageError: the launcher's variables can't be understood.
        """
        process = self.process
        if process is None or process.local_size == 1:
            return 0
        return max(1, (os.cpu_count() or 1) // process.local_size)

    @property
    def prefix(self) -> str:
        """Beginning of this process's messages, which says whose they are; "" for the first."""
        try:
            return "" if self.is_first or self.process is None else f"{self.process.name}: "
        except UsageError:
            return ""

    @contextmanager
    def open_group(self, device_label: str, timeout_seconds: float) -> Iterator[Group]:
        """Join the other processes, if there are any.

        Args:
            device_label: where this process computes: `cpu`, or `cuda` with or without a number.
            timeout_seconds: how long to wait for another process, each time.

        Raises:
            UsageError: the launcher's variables can't be understood, or the machine has fewer
                GPUs than processes.
            ProcessError: another process failed or did not come in time.
        """
        process = self.process
        if process is None:
            yield SingleProcess()
            return
        address = rendezvous_address(self._environ, process.size)
        # torch logs unreachable addresses with a stack trace; it reads this when it is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
        import torch.distributed

        if not torch.distributed.is_available():
            raise UsageError(
                f"{process.size} processes were started, but this build of PyTorch can't "
                "join them: install one with torch.distributed"
            )
        from lsuv_cli.processes.exchange import TorchGroup

        self._has_begun_rendezvous = True
        self._rendezvous = Rendezvous(process, address, timeout_seconds)
        self._rendezvous.wait_for_all()
        with closing(TorchGroup(self._rendezvous, device_label, timeout_seconds)) as group:
            try:
                yield group
            except Terminated as error:
                raise self._cause_of(error) from error
            except BaseException as error:
                # Before leaving the group, which the others notice: they would report first.
                self.reports(error)
                raise

    def reports(self, error: BaseException) -> bool:
        """Return whether this process is to report an error: the first that fails is.

        Before the processes have met it is the first of them: what goes wrong by then, such as an
        option's value, goes wrong in each. It is too where a signal ended the run, which a
        launcher sends to all. Asked again, the answer stays.
        """
        if self._is_reporter is None:
            self._is_reporter = self._claims(error)
        return self._is_reporter

    def _claims(self, error: BaseException) -> bool:
        try:
            is_first = self.is_first
        except UsageError:
            return True
        if isinstance(error, KeyboardInterrupt) and not is_first:
            return False
        if self._rendezvous is not None:
            return self._rendezvous.claim_error()
        return is_first or self._has_begun_rendezvous

    def _cause_of(self, termination: Terminated) -> BaseException:
        """Return the reason why a launcher has ended this process: another one may have died."""
        died = self._rendezvous.who_died() if self._rendezvous is not None else None
        error = termination if died is None else ProcessError(died)
        self.reports(error)
        return error
