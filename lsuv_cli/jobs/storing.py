"""Open the store of values between segments, and the journal of earlier measurements."""

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
    identity: Mapping[str, Any],
    events: Events,
) -> Iterator[tuple[ValueStore, Journal]]:
    """Open the store that holds values between segments, in memory and on disk.

    Args:
        options: what the user asked for.
        group: the processes that share the samples.
        budget: how much may be kept in memory.
        batches: the samples.
        identity: what a run that is resumed must have in common with this one, beside the samples.
        events: receives a note where a run is resumed.

    Yields:
        The store, and the journal of what has been measured.

    Raises:
        OutputError: the resume journal can't be written.
        UsageError: the resume journal is that of another run.
    """
    if options.resume is not None:
        work = {**identity, "samples": batches.fingerprint()}
        with open_resume_journal(options.resume, work, group) as journal:
            if journal.is_resumed:
                events.note(f"resuming from the journal in {options.resume}")
            yield journal.store, journal
        return
    spill = spill_file(options.spill_dir)
    is_alone = group.size == 1 and len(batches.counts) == 1
    in_memory = options.memory_bytes if is_alone else budget.live_bytes
    try:
        yield ValueStore(in_memory, spill, budget.device_live_bytes), NoJournal()
    finally:
        if spill is not None:
            spill.close()


def refuse_missing_folder(spill_dir: Path | None) -> None:
    """Refuse a folder to spill to that does not exist.

    Raises:
        UsageError: it does not exist.
    """
    if spill_dir is not None and not spill_dir.is_dir():
        raise UsageError(f"--spill-dir {spill_dir}: no such folder; make it first")


def spill_file(spill_dir: Path | None) -> SpillFile | None:
    """Return a file in a folder, or in the system's temporary one.

    Args:
        spill_dir: the folder; None for the temporary one.

    Returns:
        The file; None where nothing can be written.
    """
    try:
        return SpillFile(spill_dir or Path(tempfile.gettempdir()))
    except FileNotFoundError:  # as in a container whose file system is read-only
        return None


def refuse_differing_processes(identity: Mapping[str, Any], group: Group) -> None:
    """Refuse processes that would not do the same.

    Args:
        identity: what all of them must have in common.
        group: the processes.

    Raises:
        UsageError: they have not.
    """
    if len(set(group.gather_text(json.dumps(identity)))) > 1:
        raise UsageError(
            "the processes were given different models, samples, options or versions of lsuv; "
            "give all the same"
        )
