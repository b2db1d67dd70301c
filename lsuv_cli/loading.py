"""The samples, from what the user named to batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.batch import SampleBatches, open_samples
from lsuv_cli.samples.statistics import describe_input, normalisation_advice


class Loaded:
    """The samples of this process, opened and read once.

    Attributes:
        batches: the samples.
        files: every file that was found.
    """

    def __init__(
        self, inputs: Sequence[InputSpec], options: InitOptions, group: Group, events: Events
    ) -> None:
        """Find, choose and read samples.

        Raises:
            LsuvError: there are none, they can't be used, or an output is one of them.
        """
        events.stage("reading the samples", options.samples.count)
        source, self.files = open_samples(inputs, options.samples, options.threads)
        try:
            self.refuse_overwriting(filter(None, (options.out, options.out_model)))
            wanted = min(options.samples.count or source.available, source.available)
            size = options.batch_size or wanted
            self.batches = SampleBatches(source, options.samples, size, options.memory_bytes)
            self.batches.read(group, events.advance)
        except BaseException:
            source.close()
            raise
        self._tell(options, events)

    def refuse_overwriting(self, outputs: Iterable[Path]) -> None:
        """Refuse outputs that are samples.

        Raises:
            OutputError: one is.
        """
        for path in outputs:
            if self.files.holds(path):
                raise OutputError(f"the output {path} is one of the samples itself; choose another")

    def _tell(self, options: InitOptions, events: Events) -> None:
        for path, reason in self.batches.skipped:
            events.warn(f"skipped {path}: {reason}")
        wanted = options.samples.count
        if wanted is not None and self.batches.total < wanted:
            events.note(f"using all {self.batches.total} samples ({wanted} were asked for)")
        for statistics in self.batches.statistics:
            events.note(describe_input(statistics))
            advice = normalisation_advice(statistics, options.samples)
            if advice:
                events.warn(advice)
