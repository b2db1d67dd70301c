"""Measurements of all processes of a run, gathered and merged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce

import numpy as np

from lsuv_cli.core.group import Group
from lsuv_cli.core.indices import TapKey
from lsuv_cli.core.moments import Moments

Suspects = frozenset[TapKey]


def suspects_of_all(taps: Collection[TapKey], suspects: Suspects, group: Group) -> Suspects:
    """Return the taps that any process suspects.

    Args:
        taps: all that there are, in the same order in every process.
        suspects: those that this process suspects.
        group: the processes.
    """
    if group.size == 1:
        return suspects
    flags = np.array([key in suspects for key in taps], np.float64)
    found = np.sum(group.gather(flags), axis=0)
    return frozenset(key for key, flag in zip(taps, found, strict=True) if flag)


def moments_of_all(moments: Sequence[Moments], group: Group) -> Sequence[Moments]:
    """Return moments over the samples of all processes, merged in the same order by each of them.

    Args:
        moments: those over this process's samples, as many in every process.
        group: the processes.
    """
    if group.size == 1:
        return moments
    vector = np.concatenate([[m.count, *m.mean, *m.mean_square] for m in moments] or [[]])
    vectors = group.gather(vector)
    merged: list[Moments] = []
    offset = 0
    for one in moments:
        channels = one.mean.size
        parts = [vector[offset : offset + 1 + 2 * channels] for vector in vectors]
        offset += 1 + 2 * channels
        measured = (
            Moments(int(part[0]), part[1 : 1 + channels], part[1 + channels :]) for part in parts
        )
        merged.append(reduce(Moments.merge, measured))
    return merged
