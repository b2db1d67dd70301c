"""Images built without a registry: the base by debootstrap, the Dockerfile by buildah."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.paths import ROOT

SUITE = "bookworm"  # its Python is the oldest that lsuv runs on
BASE = "localhost/base"
PIP_SETTINGS = {"index-url", "extra-index-url", "find-links", "cert", "proxy", "trusted-host"}


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    Attributes:
        root: its root file system, mounted.
        config: its configuration: `Env`, `Entrypoint`, `User`, `WorkingDir`, `Labels`.
        gigabytes: its size, as `docker images` shows it.
    """

    root: Path
    config: dict[str, Any]
    gigabytes: float


class Workshop:
    """A folder with a base, and the images that are built on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images: dict[str, Image] = {}

    def image(self, target: str) -> Image:
        """Build a target of the Dockerfile, once."""
        if target not in self._images:
            if not self._images:
                self._make_base()
            self._images[target] = self._build(target)
        return self._images[target]

    def close(self) -> None:
        """Unmount and remove everything."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def _buildah(self, *arguments: object) -> str:
        storage = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        driver = ["--storage-driver", os.environ.get("STORAGE_DRIVER", "vfs")]
        done = subprocess.run(
            ["buildah", *map(str, [*storage, *driver, *arguments])],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        return done.stdout.strip()

    def _make_base(self) -> None:
        """What Debian's own image is, but for the documentation that is left out of that."""
        tree = self.folder / "base"
        options = ["--variant=minbase", "--include=ca-certificates"]
        mirror = [os.environ["DEBIAN_MIRROR"]] if "DEBIAN_MIRROR" in os.environ else []
        done = subprocess.run(
            ["debootstrap", *options, SUITE, tree, *mirror],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        subprocess.run(["chroot", tree, "apt-get", "clean"], check=True)
        for index in (tree / "var/lib/apt/lists").glob("*Packages*"):
            index.unlink()
        container = self._buildah("from", "scratch")
        self._buildah("copy", "--quiet", container, tree, "/")
        self._buildah("commit", "--quiet", "--rm", container, BASE)

    def _build(self, target: str) -> Image:
        configuration, volumes = pip_configuration()
        secret = self.folder / "pip.conf"
        secret.write_text(configuration)
        options = ["--target", target, "--tag", target, "--secret", f"id=pip,src={secret}"]
        for base in ("CPU_BASE", "CUDA_BASE"):
            options += ["--build-arg", f"{base}={BASE}"]
        if "TORCH_INDEX" in os.environ:
            options += ["--build-arg", f"TORCH_INDEX={os.environ['TORCH_INDEX']}"]
        for path in volumes:
            options += ["--volume", f"{path}:{path}:ro"]
        self._buildah("bud", *options, ROOT)
        described = json.loads(self._buildah("inspect", "--type", "image", target))
        (size,) = (
            image["size"]
            for image in json.loads(self._buildah("images", "--json"))
            if f"localhost/{target}:latest" in (image["names"] or [])
        )
        number, unit = size.split()
        gigabytes = float(number) * {"GB": 1, "MB": 1e-3}[unit]
        root = self._buildah("mount", self._buildah("from", "--pull-never", target))
        return Image(Path(root), described["OCIv1"]["config"], gigabytes)


def pip_configuration() -> tuple[str, list[Path]]:
    """What pip is told on this machine, as a configuration file, and the paths that this names.

    An index on this machine's disk is left out: its pages may lead anywhere.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    settings: dict[str, list[str]] = {}
    # The environment's come first there, and override the others.
    for line in reversed(listed.splitlines()):
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in PIP_SETTINGS:
            words = str(ast.literal_eval(value)).split()
            settings[key] = [word for word in words if not word.startswith("file:")]
    lines = [f"{key} = {' '.join(words)}" for key, words in settings.items() if words]
    paths = [Path(word) for words in settings.values() for word in words]
    return "\n".join(["[global]", *lines, ""]), [path for path in paths if path.exists()]
