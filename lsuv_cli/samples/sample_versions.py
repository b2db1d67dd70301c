"""Versions of samples, to notice that one changes while it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.source import Source


class SampleVersions:
    """The version of each sample's file when the sample was first read.

    Attributes:
        hashes: (n,) int64, of the versions; 0 for a sample that has not been read yet.
    """

    def __init__(self, source: Source) -> None:
        self.hashes = np.zeros(source.available, np.int64)
        self._source = source

    def refuse_changed(self, samples: Sequence[int]) -> None:
        """Record the versions of samples that have just been read, and compare earlier ones.

        Raises:
            DataError: one has another version than when it was first read, or is gone.
        """
        for sample in samples:
            try:
                version = hash(self._source.version(sample)) or 1
            except OSError as error:
                name = self._source.name(sample)
                raise DataError(f"{name} can't be read any more: {error.strerror}") from None
            if self.hashes[sample] not in (0, version):
                raise DataError(
                    f"{self._source.name(sample)} has changed since it was first read; run again "
                    "when it no longer does"
                )
            self.hashes[sample] = version
