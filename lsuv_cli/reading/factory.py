"""Modules that a name tells to make: `package.module:factory`, or `file.py:Network`.

This is the one place that runs the user's own code, which is what such a name asks for.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lsuv_cli.core.errors import ModelError, UsageError
from lsuv_cli.reading.torch_export import first_line

if TYPE_CHECKING:
    from lsuv_cli.reading.torch_module import ModuleFile

NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
FACTORY = re.compile(rf"(?P<source>{NAME}|.+\.py):(?P<name>{NAME})")
# Folders of installed packages.
PACKAGES = frozenset(("site-packages", "dist-packages"))
MOST_SUGGESTIONS = 5


def is_factory(path: Path) -> bool:
    """Return whether a path is no file, but the name of what makes a module."""
    return FACTORY.fullmatch(str(path)) is not None and not path.exists()


def open_factory(path: Path, arguments: Mapping[str, Any] | Sequence[Any], seed: int) -> ModuleFile:
    """Import what a name tells, and have it make a module.

    Args:
        path: the name, for which `is_factory` holds.
        arguments: of the factory, by name or in order; none for a module that is there already.
        seed: seeds PyTorch's random numbers, with which the module draws its values.

    Raises:
        ModelError: there is no such thing, it raises an error, or it makes no module.
        UsageError: there are arguments for what takes none.
    """
    import torch
    from torch import nn

    from lsuv_cli.reading.torch_module import ModuleFile

    match = FACTORY.fullmatch(str(path))
    if match is None:
        raise ValueError(f"{path} is no factory")
    torch.manual_seed(seed)
    # What the user's code prints is not part of what this program writes to stdout.
    with contextlib.redirect_stdout(sys.stderr):
        advice = "correct it, or run this where it can be imported"
        with _explained(f"importing {match['source']}", advice):
            source = _imported(match["source"], path)
        made = _found(source, match["name"], path)
        if isinstance(made, nn.Module):
            if arguments:
                raise UsageError(f"--model-args: {path} is a module and takes none; leave it out")
        elif callable(made):
            with _explained(str(path), "correct it, or give it other --model-args"):
                made = made(**arguments) if isinstance(arguments, Mapping) else made(*arguments)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{path} gives a value of the type {type(made).__name__}, and no PyTorch module; name "
            "a module, its class, or a function that returns one"
        )
    return ModuleFile(made, str(path))


def _imported(source: str, path: Path) -> ModuleType:
    """Import a module by its name, or a file; its neighbours can be imported too."""
    if not source.endswith(".py"):
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as Python itself does for -m
        return importlib.import_module(source)
    file = Path(source)
    if not file.is_file():
        raise ModelError(f"no such file: {file}, which {path} names")
    sys.path.insert(0, str(file.parent.resolve()))
    name = file.stem if file.stem not in sys.modules else f"_lsuv_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} can't be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where data classes and pickles look for it
    spec.loader.exec_module(module)
    return module


def _found(source: ModuleType, name: str, path: Path) -> Any:
    """Return what a dotted name means in a module."""
    value: Any = source
    for part in name.split("."):
        if not hasattr(value, part):
            public = [one for one in dir(value) if not one.startswith("_")]
            near = difflib.get_close_matches(part, public, MOST_SUGGESTIONS)
            hint = f"; is it {', '.join(near)}?" if near else ""
            raise ModelError(f"{path}: {getattr(value, '__name__', value)} has no {part}{hint}")
        value = getattr(value, part)
    return value


@contextlib.contextmanager
def _explained(what: str, advice: str) -> Iterator[None]:
    """Tell of an error of the user's code: the last line of its traceback, and where it was.

    Raises:
        ModelError: there was one.
    """
    try:
        yield
    except (ModelError, UsageError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise any
        frames = [
            one
            for one in traceback.extract_tb(error.__traceback__)
            if one.filename != __file__ and "importlib" not in one.filename
        ]
        # An error deep in an installed package says more at the line of the user's that led there.
        own = [one for one in frames if PACKAGES.isdisjoint(Path(one.filename).parts)] or frames
        where = f", at {own[-1].filename}:{own[-1].lineno}" if own else ""
        raise ModelError(
            f"{what} raised {type(error).__name__}: {first_line(error)}{where}; {advice}"
        ) from None
