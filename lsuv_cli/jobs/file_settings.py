"""The options with which a weights file was made, for measuring it."""

from __future__ import annotations

import shlex
from dataclasses import replace

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.file_settings import as_arguments, defaults_from, noted_settings, with_defaults
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.header import settings_in


def with_file_settings(options: VerifyOptions, events: Events) -> VerifyOptions:
    """Return options, where not given, as they were when the weights file was written.

    Args:
        options: the user's.
        events: receives a note of what was taken from the file.

    Raises:
        DataError: there is no such file, or it is not a checkpoint.
    """
    if options.weights is None:
        return options
    texts = open_checkpoint(options.weights).texts
    try:
        taken = defaults_from(noted_settings(settings_in(texts)), options)
    except UsageError as error:
        events.warn(
            f"the options with which {options.weights} was made can't be read ({error}); give "
            "those that were not the defaults"
        )
        return options
    if not taken:
        return options
    events.note(
        f"as {options.weights} was made: {shlex.join(as_arguments(taken))} (an option that you "
        "give wins)"
    )
    return with_defaults(replace(options, from_file=frozenset(taken)), taken)
