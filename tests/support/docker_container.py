"""An image's root file system, run as Docker runs a container, without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.docker_build import Image

# What Docker itself mounts into every container.
SET_UP = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for device in full null random urandom zero; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
ip link set lo up
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o "remount,bind,$3" "$root$2"
    shift 3
done
shift
mount -o remount,bind,ro "$root"
exec chroot "$@"
"""

NAMESPACES = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
NEEDED = {
    "buildah": "buildah",
    "chroot": "coreutils",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
}


def not_installed() -> str:
    """The packages that are missing on this machine, for `apt-get install`; "" where none is."""
    return " ".join(package for tool, package in NEEDED.items() if shutil.which(tool) is None)


@dataclass(frozen=True, slots=True)
class Container:
    """`docker run --read-only --network none` and some options.

    Attributes:
        image: what is run.
        volumes: folders by where they are mounted, a `:ro` at the end for those that are only read.
        user: `--user UID:GID`; None for the image's own.
    """

    image: Image
    volumes: Mapping[str, Path] = field(default_factory=dict)
    user: str | None = None

    def start(
        self, *arguments: object, entrypoint: list[str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the image's command, or another, with these arguments, as process 1."""
        config = self.image.config
        mounts: list[str] = []
        for target, folder in self.volumes.items():
            where, _, mode = target.partition(":")
            mounts += [str(folder), where, mode or "rw"]
        user = ["--userspec", self.user or config["User"], "--groups="]
        inside = ["env", "--ignore-environment", f"--chdir={config['WorkingDir']}", *config["Env"]]
        command = [*(entrypoint or config["Entrypoint"]), *map(str, arguments)]
        outside = ["unshare", *NAMESPACES, "sh", "-c", SET_UP, "sh", str(self.image.root)]
        return subprocess.Popen(
            [*outside, *mounts, "--", *user, str(self.image.root), *inside, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: object, entrypoint: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        with self.start(*arguments, entrypoint=entrypoint) as process:
            stdout, stderr = process.communicate(timeout=300)
        return subprocess.CompletedProcess(
            list(map(str, arguments)), process.returncode, stdout, stderr
        )


def send(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to process 1 of a container, as `docker stop` does."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), number)
