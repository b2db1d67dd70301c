"""Connections to another machine: waiting for it, and the network interface that leads there."""

from __future__ import annotations

import socket
import struct
import sys
import time

from lsuv_cli.processes.launch import Address

REQUEST_ADDRESS = 0x8915  # Linux' SIOCGIFADDR
NAME_BYTES = 15
LOOPBACK_NAMES = ("localhost", "127.0.0.1")
RETRY_SECONDS = 0.1


def wait_for_listener(address: Address, seconds: float) -> None:
    """Wait until something listens at an address.

    torch's own wait for it can't be interrupted, lasts longer than its time-out, and where it is
    left behind in a thread it takes the process down while the interpreter ends.

    Raises:
        OSError: nothing did in time, TimeoutError included.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            # A name may be unknown at first too: Kubernetes announces a pod some time after it ran.
            socket.create_connection((address.host, address.port), timeout=max(left, 0.1)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def interface_towards(host: str, port: int) -> str | None:
    """Return the network interface by which this machine reaches another, or itself.

    gloo, left to itself, takes the address that the machine's own name resolves to. In containers
    and on Debian that is often one that no other machine can reach.

    Args:
        host: name or IPv4 address of the other machine.
        port: any port of it; nothing is sent there.

    Returns:
        The interface's name; None where it can't be found out.
    """
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        if address.startswith("127.") and host not in LOOPBACK_NAMES:
            return None
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:NAME_BYTES])
            try:
                answer = fcntl.ioctl(probe.fileno(), REQUEST_ADDRESS, request)
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
