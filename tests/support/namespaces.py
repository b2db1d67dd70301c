"""Two network namespaces joined by a cable: two machines that share their files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

ADDRESSES = ("192.0.2.1", "192.0.2.2")


@dataclass(frozen=True, slots=True)
class Host:
    """One end of the cable.

    Attributes:
        namespace: its name.
        interface: the network interface that leads to the other.
        address: its IPv4 address there.
    """

    namespace: str
    interface: str
    address: str

    def command(self, *arguments: object) -> list[str]:
        """Return a command line that runs another one on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, arguments)]


def why_not() -> str | None:
    """Return the reason why there can be no namespaces here, or None."""
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    probe = f"lsuv-{os.getpid()}-probe"
    made = subprocess.run(
        ["ip", "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        return f"network namespaces can't be made here: {made.stderr.strip()}"
    # Where ip itself is confined it can make a namespace and not enter it.
    entered = subprocess.run(
        ["ip", "netns", "exec", probe, "true"], capture_output=True, text=True, check=False
    )
    subprocess.run(["ip", "netns", "del", probe], check=False)
    if entered.returncode != 0:
        return f"network namespaces can't be entered here: {entered.stderr.strip()}"
    return None


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts that reach only each other; in the end, kill what still runs there.

    Each has a loopback interface. As on many a machine, their own host name leads nowhere useful.
    """
    tag = f"{os.getpid() % 100_000}{time.monotonic_ns() % 1000:03}"
    hosts = tuple(
        Host(f"lsuv-{tag}-{number}", f"lsuv{tag}{number}", address)
        for number, address in enumerate(ADDRESSES)
    )
    first, second = hosts
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
        _ip(
            *("link", "add", first.interface, "netns", first.namespace, "type", "veth"),
            *("peer", "name", second.interface, "netns", second.namespace),
        )
        for host in hosts:
            within = ("-n", host.namespace)
            _ip(*within, "addr", "add", f"{host.address}/24", "dev", host.interface)
            _ip(*within, "link", "set", host.interface, "up")
            _ip(*within, "link", "set", "lo", "up")
        yield first, second
    finally:
        for host in hosts:
            _remove(host)


def cut(host: Host) -> None:
    """Pull the cable."""
    _ip("-n", host.namespace, "link", "set", host.interface, "down")


def _remove(host: Host) -> None:
    pids = subprocess.run(
        ["ip", "netns", "pids", host.namespace], capture_output=True, text=True, check=False
    )
    for pid in pids.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
