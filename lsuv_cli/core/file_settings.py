"""The options that `lsuv init` notes in the file it writes, as defaults of whoever measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from lsuv_cli.core.choices import BatchNorm, Per
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import (
    check_divisors,
    check_globs,
    check_numbers,
    check_positive,
    check_word,
)
from lsuv_cli.core.option_texts import parse_size
from lsuv_cli.core.options import SampleOptions, Size, VerifyOptions, WorkOptions


@dataclass(frozen=True, slots=True)
class Setting:
    """An option that a written file tells.

    Attributes:
        option: its name on the command line, without dashes; dashes within are underscores.
        read: returns the value of an option from JSON; raises UsageError for another kind of value.
        given_by: other options that set it, or that are given together with it.
    """

    option: str
    read: Callable[[Any], Any]
    given_by: tuple[str, ...] = ()


def _read_size(value: Any) -> Size | None:
    return None if value is None else parse_size(str(value), "size")


def _read_stds(value: Any) -> tuple[float, ...]:
    stds = check_numbers("std", value)
    check_divisors("std", stds)
    return stds


def _read_targets(value: Any) -> tuple[tuple[str, float], ...]:
    try:
        pairs = [(glob, std) for glob, std in value]
    except (TypeError, ValueError):
        raise UsageError(f"target {value!r:.60}: no pairs") from None
    return tuple(
        (check_globs("target", glob)[0], check_positive("target", std)) for glob, std in pairs
    )


# By the names of the fields of the options. Not those that say which samples are used, nor the
# names and shapes of inputs, which another file of the same model may have otherwise.
SETTINGS: Mapping[str, Setting] = {
    "per": Setting("per", partial(check_word, "per", words=Per)),
    "bn": Setting("bn", partial(check_word, "bn", words=BatchNorm)),
    "target_std": Setting("target_std", partial(check_positive, "target_std")),
    "targets": Setting("target", _read_targets),
    "tol": Setting("tol", partial(check_positive, "tol")),
    "include": Setting("include", partial(check_globs, "include")),
    "exclude": Setting("exclude", partial(check_globs, "exclude")),
    "mean": Setting("mean", partial(check_numbers, "mean"), ("std", "preset")),
    "std": Setting("std", _read_stds, ("mean", "preset")),
    "resize": Setting("resize", _read_size),
    "crop": Setting("crop", _read_size),
}
OF_SAMPLES = frozenset(field.name for field in fields(SampleOptions)) - {"seed"}
DEFAULTS = {
    field.name: field.default for kind in (SampleOptions, WorkOptions) for field in fields(kind)
}


def noted_settings(noted: object) -> dict[str, Any]:
    """Return the options that a weights file tells, by their fields' names.

    Args:
        noted: the settings in its header, as JSON has them.

    Raises:
        UsageError: they are damaged, or of a version that knows other values.
    """
    if not isinstance(noted, dict):
        raise UsageError("the settings are no JSON object")
    return {name: one.read(noted[name]) for name, one in SETTINGS.items() if name in noted}


def defaults_from(noted: Mapping[str, Any], options: VerifyOptions) -> dict[str, Any]:
    """Return those of the options that a file tells which nobody has given and are no defaults.

    Samples in memory are used as they are: in Python the data set normalises them.

    Args:
        noted: what the file tells.
        options: the user's, and which of them the user gave.
    """
    taken = {}
    for name, value in noted.items():
        if name in OF_SAMPLES and not options.samples.data:
            continue
        own = getattr(options.samples if name in OF_SAMPLES else options, name)
        given = {SETTINGS[name].option, *SETTINGS[name].given_by} & options.given
        if not given and own == DEFAULTS[name] != value:
            taken[name] = value
    return taken


def with_defaults(options: VerifyOptions, taken: Mapping[str, Any]) -> VerifyOptions:
    """Return options with other values for some of their fields and those of their samples.

    Args:
        options: the options.
        taken: the values, by the fields' names.
    """
    of_samples = {name: value for name, value in taken.items() if name in OF_SAMPLES}
    others = {name: value for name, value in taken.items() if name not in OF_SAMPLES}
    return replace(options, samples=replace(options.samples, **of_samples), **others)


def as_arguments(taken: Mapping[str, Any]) -> list[str]:
    """Return options as the words of a command line.

    >>> as_arguments({"per": Per.CHANNEL, "exclude": ("a", "b.*"), "mean": (0.5, 0.25)})
    ['--per', 'channel', '--exclude', 'a', '--exclude', 'b.*', '--mean', '0.5,0.25']

    Args:
        taken: the values, by the fields' names.
    """
    words = []
    for name, value in taken.items():
        option = f"--{SETTINGS[name].option.replace('_', '-')}"
        for text in _texts(name, value):
            words += [option, text]
    return words


def _texts(name: str, value: Any) -> list[str]:
    if name in ("include", "exclude"):
        return list(value)
    if name == "targets":
        return [f"{glob}={std:g}" for glob, std in value]
    if isinstance(value, tuple):
        return [",".join(f"{one:g}" for one in value)]
    return [f"{value:g}" if isinstance(value, float) else str(value)]
