"""Output files: refused beforehand, or written beside their target and renamed."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import OutputError


@contextmanager
def replacing_file(target: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Write beside a target and rename at the end, so that it is whole or not there.

    Gives the open file and its temporary path. On any exception nothing is left behind and an
    existing target is as it was.

    Args:
        target: the path to write.
        force: replace an existing target.

    Raises:
        OutputError: the target exists (without `force`), or can't be written.
    """
    real = target.resolve()  # through a link, what it leads to is written
    try:
        descriptor, name = tempfile.mkstemp(prefix=".lsuv-", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise OutputError(f"can't write in {target.parent}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _apply_umask(descriptor)
            yield file, temporary
        if force:
            temporary.replace(real)
        else:
            _rename_to_new(temporary, real)
    except FileExistsError:
        raise OutputError(existing_output(target)) from None
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def existing_output(target: Path) -> str:
    """What to say of an output that is already there."""
    return f"the output {target} exists already; give --force to replace it"


def refuse_overwriting(target: Path, role: str, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the files that are read.

    Args:
        target: the path to write.
        role: what the inputs are, for the error's text.
        inputs: files that must not be overwritten.

    Raises:
        OutputError: the output is one of them.
    """
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"the output {target} is {role} itself; choose another")


def check_output(target: Path, *, force: bool) -> None:
    """Refuse an output that can't be written, before any work is done.

    Args:
        target: the path to write.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: and why.
    """
    if target.is_dir():
        raise OutputError(f"the output {target} is a folder; give a file name in it")
    if not target.parent.is_dir():
        raise OutputError(f"the output's folder {target.parent} does not exist; make it first")
    if target.exists():
        if not stat.S_ISREG(target.stat().st_mode):
            raise OutputError(f"the output {target} is not a regular file")
        if not force:
            raise OutputError(existing_output(target))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"can't write in {target.parent}: no permission")


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Rename, but fail where another process has made the target meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        temporary.replace(target)


def _apply_umask(descriptor: int) -> None:
    """Give a temporary file, made private, the permissions of an ordinary new one."""
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)
