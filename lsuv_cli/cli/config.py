"""Options from a file: `lsuv.toml`, or `[tool.lsuv]` in `pyproject.toml`."""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsuv_cli.cli.streams import STANDARD
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.text_marks import without_mark

OWN_NAME = "lsuv.toml"
PROJECT_NAME = "pyproject.toml"

# What each kind of option is written as.
KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}

# The only option with several values that are paths.
DATA = "data"

# Options that take one number, or one per channel.
NUMBERS = frozenset(("mean", "std"))

# Options that conflict: one on the command line overrides the others in the file, and one in a
# command's table overrides the others in the table for all commands.
OVERRIDDEN = {
    "preset": ("mean", "std"),
    "mean": ("preset",),
    "std": ("preset",),
    "quiet": ("verbose",),
    "verbose": ("quiet",),
    "device": ("provider",),
    "out": ("json_output", "max_shard_size", "resume"),  # where it is stdout
}

Table = Mapping[str, Any]


def find_configuration() -> Path | None:
    """The nearest file with options, in the current folder or in those above it."""
    try:
        folder = Path.cwd()
    except OSError:  # it has been deleted
        return None
    for place in (folder, *folder.parents):
        if (place / OWN_NAME).is_file():
            return place / OWN_NAME
        project = place / PROJECT_NAME
        if project.is_file() and _has_options(project):
            return project
    return None


def _has_options(project: Path) -> bool:
    """Return whether a pyproject.toml has a table for this tool."""
    try:
        tools = _parsed(project).get("tool")
    except UsageError:
        return False
    return isinstance(tools, dict) and "lsuv" in tools


def read_configuration(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Read options from a file.

    Args:
        path: the file. Keys are options without their dashes, for every command that has them; in
            a table called as a command they are for that one. Paths are relative to the file.
        commands: Typer's commands by name.

    Returns:
        For each command the values of its parameters, as Typer's `default_map` takes them.

    Raises:
        UsageError: it can't be read, or holds what is no option, or no value of one.
    """
    table = _table(path)
    known = {name: _options(command) for name, command in commands.items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in commands}
    own = {key: value for key, value in table.items() if key in commands}
    for key, value in table.items():
        if key in own:
            continue
        having = [name for name, options in known.items() if key in options]
        if not having:
            raise UsageError(f"{path}: {key} is not an option of any command; see lsuv --help")
        for name in having:
            found[name][known[name][key].name] = _value(path, key, value, known[name][key])
    for name, values in own.items():
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {name} is a command; write its options as [{name}]")
        specific: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known[name]:
                raise UsageError(f"{path}: {name} has no option {key}; see lsuv {name} --help")
            specific[known[name][key].name] = _value(path, key, value, known[name][key])
        void = overridden(specific)
        general = {key: value for key, value in found[name].items() if key not in void}
        found[name] = {**general, **specific}
    return found


def overridden(given: Mapping[str, Any]) -> set[str]:
    """The parameters of which less specific values do not count.

    Args:
        given: the parameters that are given more specifically, and their values.
    """
    ruling = {
        name
        for name, value in given.items()
        if value is not False and (name != "out" or Path(value) == STANDARD)
    }
    return {other for name in ruling for other in OVERRIDDEN.get(name, ())} - given.keys()


def _table(path: Path) -> Table:
    """The part of the file that is this tool's."""
    table: Any = _parsed(path)
    if path.name == PROJECT_NAME:
        tools = table.get("tool")
        table = tools.get("lsuv", {}) if isinstance(tools, dict) else {}
        if not isinstance(table, dict):
            raise UsageError(f"{path}: tool.lsuv must be a table of options; write [tool.lsuv]")
    return dict(table)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(without_mark(path.read_bytes()).decode("utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def _options(command: Any) -> dict[str, Any]:
    """A command's options by their long names, without dashes."""
    return {
        text.removeprefix("--"): parameter
        for parameter in command.params
        for text in parameter.opts
        if text.startswith("--") and text != "--help"
    }


def _value(path: Path, key: str, value: Any, parameter: Any) -> Any:
    kind = parameter.type_descriptor.annotation
    if parameter.multiple:
        values = value if isinstance(value, list) else [value]
        texts = [_text(path, key, one) for one in values]
        return [_located_samples(path, text) for text in texts] if key == DATA else texts
    if kind in KINDS:
        types, described = KINDS[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(f"{path}: {key} = {value!r}: must be {described}")
        return value
    text = _text(path, key, value)
    return _located(path, text) if kind is Path else text


def _text(path: Path, key: str, value: Any) -> str:
    """Sizes and numbers may be written without quotes, several numbers as an array."""
    if isinstance(value, list) and value and key in NUMBERS:
        return ",".join(_text(path, key, one) for one in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{path}: {key} = {value!r}: must be a text")
    return str(value)


def _located(path: Path, text: str) -> str:
    """A path that is relative to the file, as seen from here."""
    return text if Path(text) == STANDARD else str(path.parent / text)


def _located_samples(path: Path, text: str) -> str:
    """Resolve a value of `--data` relative to the file: a path, a list of paths or a pattern."""
    if text == "@-":
        return text
    if text.startswith("@"):
        return f"@{path.parent / text[1:]}"
    # What the folder is called is no pattern.
    is_pattern = glob.has_magic(text) and not (path.parent / text).exists()
    folder = Path(glob.escape(str(path.parent))) if is_pattern else path.parent
    return str(folder / text)
