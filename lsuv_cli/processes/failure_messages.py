"""Messages: one sentence for each way in which processes of a run can lose each other."""

from __future__ import annotations

from collections.abc import Sequence

from lsuv_cli.processes.launch import Address

AGAIN = "then start the run again"


def did_not_come(missing: Sequence[int], size: int, seconds: float, address: Address) -> str:
    """Return that processes have not come to the rendezvous.

    Args:
        missing: their ranks.
        size: how many processes there are.
        seconds: how long they were waited for.
        address: of the rendezvous.
    """
    return (
        f"{_processes(missing, size)} did not come to {address} within {seconds:g} s: see whether "
        f"{_they(missing)} started, and give a longer --timeout if machines start one by one"
    )


def did_not_answer(ranks: Sequence[int], size: int, seconds: float) -> str:
    """Return that processes ended or have been stopped.

    Args:
        ranks: their ranks.
        size: how many processes there are.
        seconds: how long an exchange may take.
    """
    return (
        f"{_processes(ranks, size)} ended, or did not answer within {seconds:g} s: see what "
        f"{_they(ranks)} said last and whether memory ran out there, {AGAIN}"
    )


def still_working(ranks: Sequence[int], size: int, seconds: float) -> str:
    """Return that processes live, but have not come to an exchange.

    Args:
        ranks: their ranks.
        size: how many processes there are.
        seconds: how long the others waited.
    """
    verb = "was" if len(ranks) == 1 else "were"
    return (
        f"{_processes(ranks, size)} {verb} still at work when the others had waited "
        f"{seconds:g} s: give a longer --timeout"
    )


def can_not_exchange(size: int, detail: str) -> str:
    """Return that an exchange failed although every process is there.

    Args:
        size: how many processes there are.
        detail: what the exchange itself said.
    """
    return (
        f"the {size} processes can't exchange data though all are at work ({detail}): see whether "
        "the network lets them through, and name the interface they share in GLOO_SOCKET_IFNAME"
    )


def can_not_listen(address: Address, detail: str) -> str:
    """Return that the first process can't listen at the address of the rendezvous.

    Args:
        address: of the rendezvous.
        detail: why not.
    """
    return (
        f"the first process can't listen at {address} ({detail}): give a free port of its machine "
        "in MASTER_PORT"
    )


def unreachable(size: int, address: Address, seconds: float) -> str:
    """Return that the rendezvous does not answer.

    Args:
        size: how many processes there are.
        address: of the rendezvous.
        seconds: how long a connection may take.
    """
    who = (
        "the launcher"
        if address.is_hosted_by_launcher
        else f"process 0 of {size}, which hosts the rendezvous,"
    )
    return (
        f"{who} ended, or did not answer at {address} within {seconds:g} s: see what it said last "
        f"and whether the network lets this machine through, {AGAIN}"
    )


def different_work(rank: int, size: int, theirs: str, ours: str) -> str:
    """Return that two processes came to the same exchange with different work.

    Args:
        rank: of the process that differs from the first.
        size: how many processes there are.
        theirs: what it sent.
        ours: what process 0 sent.
    """
    return (
        f"process {rank} of {size} sent {theirs}, but process 0 sent {ours}: give every "
        "process the same model and options, and the same version of lsuv"
    )


def _they(ranks: Sequence[int]) -> str:
    return "it" if len(ranks) == 1 else "they"


def _processes(ranks: Sequence[int], size: int) -> str:
    *most, last = map(str, ranks)
    if not most:
        return f"process {last} of {size}"
    return f"processes {', '.join(most)} and {last} of {size}"
