"""The keywords of the functions: their types, their defaults, and what they may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar

from lsuv_cli.core.choices import BatchNorm, Bias, Init, Per, PreInit
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import (
    check_axis,
    check_divisors,
    check_feed,
    check_globs,
    check_numbers,
    check_positive,
    check_whole,
    check_word,
)
from lsuv_cli.core.option_texts import parse_samples
from lsuv_cli.core.options import SampleOptions, WorkOptions
from lsuv_cli.names.exporters import names_words

PreInitWord = Literal[
    "orthonormal", "delta-orthogonal", "he", "xavier", "lecun", "gaussian", "keep"
]


class InspectKeywords(TypedDict, total=False):
    """The keywords of `inspect`, which all other functions have too."""

    count: int | Literal["all"] | None
    input_shapes: Mapping[str, Sequence[int]]
    batch_axes: Mapping[str, int | None]
    feeds: Mapping[str, Any]
    target_std: float
    target: Mapping[str, float]
    tol: float
    per: Literal["layer", "channel"]
    bn: Literal["batch", "running"]
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    names: str
    device: str
    threads: int
    batch_size: int | None
    memory_bytes: int


class VerifyKeywords(InspectKeywords, total=False):
    """The keywords of `verify`."""

    seed: int
    mean: float | Iterable[float]
    std: float | Iterable[float]


class DrawKeywords(VerifyKeywords, total=False):
    """The keywords of functions that draw weights."""

    max_iter: int
    pre_init: PreInitWord
    bias: Literal["zero", "keep", "center"]


class InitKeywords(DrawKeywords, total=False):
    """The keywords of `initialize` and `initialize_`."""

    verify: bool


class CompareKeywords(DrawKeywords, total=False):
    """The keywords of `compare`."""

    inits: Iterable[str]
    backward: bool


def _check_count(count: object) -> int | None:
    if count is None:
        return None
    return parse_samples(count, "count") if isinstance(count, str) else check_whole("count", count)


def _check_stds(stds: object) -> tuple[float, ...]:
    numbers = check_numbers("std", stds)
    check_divisors("std", numbers)
    return numbers


def _check_device(device: object) -> str:
    if not isinstance(device, str):
        raise UsageError(f"device {device!r:.60}: not a text; give auto, cpu, cuda or cuda:N")
    return device


def _check_batch_size(size: object) -> int | None:
    return None if size is None else check_whole("batch_size", size)


def _check_targets(targets: object) -> tuple[tuple[str, float], ...]:
    if not isinstance(targets, Mapping):
        raise UsageError(f"target {targets!r:.60}: not a mapping of patterns to deviations")
    return tuple(
        (check_globs("target", glob)[0], check_positive("target", std))
        for glob, std in targets.items()
    )


def _check_shapes(shapes: object) -> dict[str, tuple[int, ...]]:
    if not isinstance(shapes, Mapping):
        raise UsageError(f"input_shapes {shapes!r:.60}: not a mapping of inputs to sizes")
    try:
        return {str(name): tuple(map(int, sizes)) for name, sizes in shapes.items()}
    except (TypeError, ValueError):
        raise UsageError(f"input_shapes {shapes!r:.60}: sizes are whole numbers") from None


def _check_axes(axes: object) -> dict[str, int | None]:
    if not isinstance(axes, Mapping):
        raise UsageError(f"batch_axes {axes!r:.60}: not a mapping of inputs to axes")
    return {str(name): check_axis(f"batch_axes {name}", axis) for name, axis in axes.items()}


def _check_feeds(feeds: object) -> dict[str, Any]:
    if not isinstance(feeds, Mapping):
        raise UsageError(f"feeds {feeds!r:.60}: not a mapping of inputs to values")
    return {str(name): check_feed(f"feeds {name}", value) for name, value in feeds.items()}


def _check_inits(inits: object) -> tuple[Init, ...]:
    given = [inits] if isinstance(inits, str) or not isinstance(inits, Iterable) else list(inits)
    found = tuple(check_word("inits", one, words=Init) for one in given)
    if not found or len(set(found)) < len(found):
        raise UsageError(f"inits {inits!r:.60}: give each once, and at least one")
    return found


# In the order in which they are checked. Each function returns the value as the options hold it, or
# raises a UsageError.
CHECKS: Mapping[str, Callable[[object], object]] = {
    "device": _check_device,
    "mean": partial(check_numbers, "mean"),
    "std": _check_stds,
    "seed": partial(check_whole, "seed"),
    "count": _check_count,
    "input_shapes": _check_shapes,
    "batch_axes": _check_axes,
    "feeds": _check_feeds,
    "target_std": partial(check_positive, "target_std"),
    "target": _check_targets,
    "tol": partial(check_positive, "tol"),
    "max_iter": partial(check_whole, "max_iter"),
    "pre_init": partial(check_word, "pre_init", words=PreInit),
    "bias": partial(check_word, "bias", words=Bias),
    "per": partial(check_word, "per", words=Per),
    "bn": partial(check_word, "bn", words=BatchNorm),
    "include": partial(check_globs, "include"),
    "exclude": partial(check_globs, "exclude"),
    "names": partial(check_word, "names", words=names_words()),
    "inits": _check_inits,
    "backward": bool,
    "verify": bool,
    "threads": partial(check_whole, "threads"),
    "batch_size": _check_batch_size,
    "memory_bytes": partial(check_whole, "memory_bytes"),
}

# Those that say which samples are taken, and how they are read; `seed` does as well.
SAMPLE_KEYWORDS = frozenset(("count", "mean", "std", "input_shapes", "batch_axes", "feeds"))

# The fields of the options that are called otherwise.
FIELDS = {"target": "targets"}

Options = TypeVar("Options", bound=WorkOptions)


def refuse_unknown(function: str, keywords: Mapping[str, object], taken: type) -> None:
    """Refuse keywords that a function does not take.

    Args:
        function: the function's name.
        keywords: those that were given.
        taken: the TypedDict of those that it takes.

    Raises:
        TypeError: one is unknown.
    """
    unknown = keywords.keys() - taken.__annotations__.keys()
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {min(unknown)!r}")


def options_from(
    kind: type[Options],
    keywords: Mapping[str, object],
    *,
    data: tuple[str, ...] = (),
    **more: Any,
) -> Options:
    """Return the options of a command for the keywords of a function.

    Args:
        kind: the class of the options.
        keywords: those that were given.
        data: files, folders and globs of samples; none where the samples are in memory.
        more: other fields of the options.

    Raises:
        UsageError: a value can't be used.
    """
    given: dict[str, Any] = {
        name: check(keywords[name]) for name, check in CHECKS.items() if name in keywords
    }
    of_samples = {name: given.pop(name) for name in SAMPLE_KEYWORDS & given.keys()}
    if "seed" in given:
        of_samples["seed"] = given["seed"]
    leave_out = tuple(filter(None, (more.get("out"),)))
    samples = SampleOptions(data=data, leave_out=leave_out, **of_samples)
    renamed = {FIELDS.get(name, name): value for name, value in given.items()}
    return kind(samples=samples, **renamed, **more)


def with_keywords(
    function: Callable[..., Any], kind: type[WorkOptions], taken: type
) -> inspect.Signature:
    """Return a function's signature with each keyword and its default, for `help`.

    Args:
        function: one whose last parameter is `**keywords`.
        kind: the class of the options, which have the defaults.
        taken: the TypedDict of the keywords.
    """
    signature = inspect.signature(function)
    *parameters, _keywords = signature.parameters.values()
    defaults = {one.name: one for of in (kind, SampleOptions) for one in fields(of)}
    for name, hint in taken.__annotations__.items():
        default = defaults[FIELDS.get(name, name)].default
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_plain(name, default),
                annotation=getattr(hint, "__forward_arg__", hint),
            )
        )
    return signature.replace(parameters=parameters)


def _plain(name: str, default: Any) -> Any:
    """Return a default as a caller would write it."""
    if name in {"target", "input_shapes", "batch_axes", "feeds"}:
        return {}
    if isinstance(default, str):
        return str(default)
    if isinstance(default, tuple) and default and isinstance(default[0], str):
        return tuple(map(str, default))
    return default
