"""Files that are written beside their target, and renamed when they are complete."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import OutputError
from lsuv_cli.weights.output_checks import existing_output


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that is being written beside its target.

    Attributes:
        target: the path it will have.
        temporary: the path it has now.
        file: open for writing.
    """

    target: Path
    temporary: Path
    file: BinaryIO


@contextmanager
def replacing_files(targets: Sequence[Path], *, force: bool) -> Iterator[Sequence[PendingFile]]:
    """Open files beside some targets, and rename them at the end, in their order.

    On any exception nothing is left behind, and what was there is unchanged; only if renaming
    itself fails with `force` may some of the targets have been replaced.

    Args:
        targets: the paths to write.
        force: replace existing files.

    Raises:
        OutputError: a target exists (without `force`), or can't be written.
    """
    pending: list[PendingFile] = []
    try:
        for target in targets:
            pending.append(_open_beside(target))  # noqa: PERF401 - those before a failure count
        yield pending
        for one in pending:
            with explaining(one.target):
                one.file.close()
        _rename(pending, force=force)
    finally:
        for one in pending:
            # On a full disk closing fails again, as it writes what is left in the buffer.
            with contextlib.suppress(OSError):
                one.file.close()
            one.temporary.unlink(missing_ok=True)


def _open_beside(target: Path) -> PendingFile:
    try:
        descriptor, name = tempfile.mkstemp(prefix=".lsuv-", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise OutputError(f"can't write in {target.parent}: {error.strerror}") from None
    temporary = Path(name)
    _set_mode(temporary, target)
    return PendingFile(target, temporary, os.fdopen(descriptor, "wb"))


def _rename(pending: Sequence[PendingFile], *, force: bool) -> None:
    rename_all([(one.temporary, one.target) for one in pending], force=force)


def rename_all(renamings: Sequence[tuple[Path, Path]], *, force: bool) -> None:
    """Rename finished files to their targets, in order; without `force` all or none.

    Args:
        renamings: (file, target) pairs, each in one file system.
        force: replace existing files.

    Raises:
        OutputError: a target exists (without `force`), or can't be written.
    """
    done: list[Path] = []
    try:
        for file, target in renamings:
            real = target.resolve()  # the file that a link leads to is replaced, not the link
            with explaining(target):
                if force:
                    file.replace(real)
                else:
                    _rename_to_new(file, real)
            done.append(real)
    except BaseException:
        if not force:
            for path in done:
                path.unlink(missing_ok=True)
        raise


@contextmanager
def explaining(target: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the output.

    Raises:
        OutputError: the work inside raised an OSError.
    """
    try:
        yield
    except FileExistsError:
        raise OutputError(existing_output(target)) from None
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror or error}") from None


@contextmanager
def replacing_file(target: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Open one file as `replacing_files` does; yields it and its temporary path."""
    with replacing_files([target], force=force) as (pending,), explaining(target):
        yield pending.file, pending.temporary


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Rename, but fail if another process has made the target meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        temporary.replace(target)


def _set_mode(temporary: Path, target: Path) -> None:
    """Give a temporary file, which is created private, the permissions of the file it replaces.

    Where it replaces none, those of an ordinary new file.
    """
    umask = os.umask(0)
    os.umask(umask)
    mode = 0o666 & ~umask
    with contextlib.suppress(OSError):  # there is no such file
        mode = stat.S_IMODE(target.stat().st_mode)
    temporary.chmod(mode)
