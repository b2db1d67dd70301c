"""Limits of the options, of the command and of the Python function alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

from lsuv_cli.core.errors import UsageError

Word = TypeVar("Word", bound=str)

# Beyond these a variance, or its inverse, may leave the range of float32.
STD_RANGE = (1e-15, 1e15)

# The smallest and the largest of each whole number, by its name in Python.
WHOLE_NUMBERS: dict[str, tuple[int, int | None]] = {
    "count": (1, None),
    "seed": (0, None),
    "max_iter": (1, None),
    "threads": (0, 1024),
    "batch_size": (1, None),
    "memory_bytes": (1, None),
}


def check_whole(name: str, value: object) -> int:
    """Return a whole number of any type as an int.

    Args:
        name: one of `WHOLE_NUMBERS`.
        value: the value given.

    Raises:
        UsageError: it is none, or out of range.
    """
    low, high = WHOLE_NUMBERS[name]
    try:
        number: int = value.__index__()  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise UsageError(f"{name} {value!r:.60}: not a whole number") from None
    if number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"between {low} and {high}"
        raise UsageError(f"{name} {number}: must be {allowed}")
    return number


def check_positive(option: str, value: object) -> float:
    """Return a value that can be a standard deviation or a tolerance.

    Raises:
        UsageError: it is not positive, or far from any size of a float32.
    """
    number = _number(option, value)
    low, high = STD_RANGE
    if not low <= number <= high:
        raise UsageError(f"{option} {number}: must be between {low:g} and {high:g}")
    return number


def check_numbers(option: str, values: object) -> tuple[float, ...]:
    """Return one number, or one per channel, as a tuple.

    Raises:
        UsageError: one is not a finite number.
    """
    several = isinstance(values, Iterable) and not isinstance(values, str)
    try:
        given = tuple(values) if several else (values,)  # type: ignore[arg-type]
    except TypeError:  # an array without axes
        given = (values,)
    numbers = tuple(_number(option, value) for value in given)
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{option} {', '.join(map(str, numbers))}: must be finite")
    return numbers


def check_divisors(option: str, stds: tuple[float, ...]) -> None:
    """Refuse standard deviations that samples can't be divided by.

    Raises:
        UsageError: one is not positive.
    """
    if any(std < STD_RANGE[0] for std in stds):
        raise UsageError(f"{option} {','.join(f'{std:g}' for std in stds)}: must be positive")


def check_word(name: str, value: object, words: Iterable[Word]) -> Word:
    """Return one of some words.

    Raises:
        UsageError: it is none of them.
    """
    for word in words:
        if word == value:
            return word
    raise UsageError(f"{name} {value!r:.60}: not one of {', '.join(words)}")


def check_globs(name: str, value: object) -> tuple[str, ...]:
    """Return one pattern, or several, as a tuple.

    Raises:
        UsageError: one is not a text.
    """
    globs = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for glob in globs:
        if not isinstance(glob, str):
            raise UsageError(f"{name} {glob!r:.60}: not a pattern; give a text, as 'fc*'")
    return globs


def check_feed(option: str, value: object) -> Any:
    """Return a number, or nested lists of numbers, for an array of any kind.

    Args:
        option: what messages call it.
        value: a number or a list; an array or a tensor is one of them.

    Raises:
        UsageError: it is none, its rows differ in length, or a number is not finite.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    # Of an array, or of one of its elements; numpy itself is slow to import.
    found = value.tolist() if hasattr(value, "tolist") else value
    try:
        _sizes(found)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"{option} {value!r:.60}: neither a finite number nor a list of such, all of its rows "
            "being of one length"
        ) from None
    return found


def _sizes(value: object) -> tuple[int, ...]:
    """Return the shape of nested lists of numbers.

    Raises:
        TypeError: they hold something else.
        ValueError: they are no array, or a number is not finite.
    """
    if isinstance(value, (list, tuple)):
        inner = {_sizes(one) for one in value}
        if len(inner) != 1:
            raise ValueError
        return (len(value), *inner.pop())
    if not isinstance(value, (int, float)):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return ()


def check_axis(option: str, value: object) -> int | None:
    """Return an axis, None being none.

    Raises:
        UsageError: it is no whole number.
    """
    if value is None:
        return None
    try:
        return int(value.__index__())  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise UsageError(f"{option} {value!r:.60}: not the number of an axis, nor None") from None


def _number(option: str, value: object) -> float:
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one, a tensor's
        pass
    raise UsageError(f"{option} {value!r:.60}: not a number")
