"""Where batches are kept between segments, and what has been measured before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.journal import Journal, NoJournal
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.memory.budget import Budget
from lsuv_cli.runtime.resume_journal import open_resume_journal
from lsuv_cli.runtime.spill import SpillFile
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.samples.batch import SampleBatches


@contextmanager
def open_store(
    options: WorkOptions,
    group: Group,
    budget: Budget,
    batches: SampleBatches,
    about: Mapping[str, Any],
    events: Events,
) -> Iterator[tuple[ValueStore, Journal]]:
    """Open what holds values between segments, on disk too.

    Args:
        options: what the user asked for.
        group: the processes that share the samples.
        budget: how much may be kept in memory.
        batches: the samples.
        about: what tells this run from another, but for the samples.
        events: told where an earlier run is gone on with.

    Raises:
        OutputError: the resume journal can't be written.
        UsageError: it is that of another run.
    """
    if options.resume is not None:
        work = {**about, "samples": batches.fingerprint()}
        with open_resume_journal(options.resume, work, group) as journal:
            if journal.is_resumed:
                events.note(f"resuming from the journal in {options.resume}")
            yield journal.store, journal
        return
    spill = spill_file(options.spill_dir)
    is_alone = group.size == 1 and len(batches.counts) == 1
    room = options.memory_bytes if is_alone else budget.live_bytes
    try:
        yield ValueStore(room, spill, budget.device_live_bytes), NoJournal()
    finally:
        if spill is not None:
            spill.close()


def refuse_missing_folder(spill_dir: Path | None) -> None:
    """Refuse a folder to spill to that is not there.

    Raises:
        UsageError: it is not.
    """
    if spill_dir is not None and not spill_dir.is_dir():
        raise UsageError(f"--spill-dir {spill_dir}: no such folder; make it first")


def spill_file(spill_dir: Path | None) -> SpillFile | None:
    """A file in the folder, or in the system's temporary one; None where nothing can be written."""
    try:
        return SpillFile(spill_dir or Path(tempfile.gettempdir()))
    except FileNotFoundError:  # as in a container whose file system is read-only
        return None


def refuse_different(about: Mapping[str, Any], group: Group) -> None:
    """Refuse processes that would not do the same.

    Raises:
        UsageError: they were not given the same.
    """
    if len(set(group.gather_text(json.dumps(about)))) > 1:
        raise UsageError(
            "the processes were given different models, samples, options or versions of lsuv; "
            "give all the same"
        )
