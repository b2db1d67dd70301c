"""The keywords of `lsuv_cli.initialize`: their types, their defaults, and what they may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

from lsuv_cli.core.choices import BatchNorm, Bias, Per, PreInit
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import (
    check_divisors,
    check_globs,
    check_numbers,
    check_positive,
    check_whole,
    check_word,
)
from lsuv_cli.core.option_texts import parse_samples
from lsuv_cli.core.options import InitOptions, SampleOptions
from lsuv_cli.names.exporters import names_words


class InitKeywords(TypedDict, total=False):
    """The keywords that `initialize` has in common with `lsuv init`, which it documents."""

    count: int | Literal["all"] | None
    seed: int
    mean: float | Iterable[float]
    std: float | Iterable[float]
    target_std: float
    tol: float
    max_iter: int
    pre_init: Literal[
        "orthonormal", "delta-orthogonal", "he", "xavier", "lecun", "gaussian", "keep"
    ]
    bias: Literal["zero", "keep", "center"]
    per: Literal["layer", "channel"]
    bn: Literal["batch", "running"]
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    names: str
    verify: bool
    device: str
    threads: int
    batch_size: int | None
    memory_bytes: int


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


# In the order in which they are checked. Each function returns the value as the options hold it, or
# raises a UsageError.
CHECKS: Mapping[str, Callable[[object], object]] = {
    "device": _check_device,
    "mean": partial(check_numbers, "mean"),
    "std": _check_stds,
    "seed": partial(check_whole, "seed"),
    "count": _check_count,
    "target_std": partial(check_positive, "target_std"),
    "tol": partial(check_positive, "tol"),
    "max_iter": partial(check_whole, "max_iter"),
    "pre_init": partial(check_word, "pre_init", words=PreInit),
    "bias": partial(check_word, "bias", words=Bias),
    "per": partial(check_word, "per", words=Per),
    "bn": partial(check_word, "bn", words=BatchNorm),
    "include": partial(check_globs, "include"),
    "exclude": partial(check_globs, "exclude"),
    "names": partial(check_word, "names", words=names_words()),
    "verify": bool,
    "threads": partial(check_whole, "threads"),
    "batch_size": _check_batch_size,
    "memory_bytes": partial(check_whole, "memory_bytes"),
}

# Those that say which samples are taken, and how they are read; `seed` does as well.
SAMPLE_KEYWORDS = frozenset(("count", "mean", "std"))


def init_options(
    model: Path,
    content: bytes | None,
    data: tuple[str, ...],
    out: Path,
    *,
    force: bool,
    keywords: Mapping[str, object],
) -> InitOptions:
    """Return the options of `lsuv init` for keywords of `initialize`.

    Args:
        model: the model file; what to call it where `content` holds it.
        content: the model's bytes; None to read the file.
        data: files, folders and globs of samples; none where the samples are in memory.
        out: the file of weights to write.
        force: whether `out` may be replaced.
        keywords: those that were given.

    Raises:
        UsageError: a value can't be used.
        TypeError: a keyword is unknown.
    """
    unknown = keywords.keys() - CHECKS.keys()
    if unknown:
        raise TypeError(f"initialize() got an unexpected keyword argument {min(unknown)!r}")
    given: dict[str, Any] = {
        name: check(keywords[name]) for name, check in CHECKS.items() if name in keywords
    }
    of_samples = {name: given.pop(name) for name in SAMPLE_KEYWORDS & given.keys()}
    if "seed" in given:
        of_samples["seed"] = given["seed"]
    samples = SampleOptions(data=data, leave_out=(out,), **of_samples)
    return InitOptions(model=model, content=content, samples=samples, out=out, force=force, **given)


def with_keywords(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature with each keyword and its default in place of `**keywords`, for `help`.

    Args:
        signature: one whose last parameter is `**keywords`.
    """
    *parameters, _keywords = signature.parameters.values()
    defaults = {
        one.name: one.default for kind in (InitOptions, SampleOptions) for one in fields(kind)
    }
    for name, hint in InitKeywords.__annotations__.items():
        default = defaults[name]
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=str(default) if isinstance(default, str) else default,
                annotation=getattr(hint, "__forward_arg__", hint),
            )
        )
    return signature.replace(parameters=parameters)
