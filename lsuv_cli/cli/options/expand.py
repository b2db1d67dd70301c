"""Groups of options shown to Typer as single options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import typer

from lsuv_cli.cli.config import overridden


class GivenOptions(frozenset[str]):
    """Names of the parameters that the user has given, on the command line or in a file.

    A command that has a parameter of this type gets them.
    """


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose option groups Typer sees as single options.

    Args:
        command: a function some of whose parameters are groups as above.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters = []
    takes_given = ""
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if kind is GivenOptions:
            takes_given = name
            continue
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(annotation=kind))
            continue
        groups[name] = kind
        inner = inspect.signature(kind).parameters
        kinds = get_type_hints(kind, include_extras=True)
        parameters += [
            inner[field.name].replace(annotation=kinds[field.name]) for field in fields(kind)
        ]

    defaults = {parameter.name: parameter.default for parameter in parameters}
    context = inspect.Parameter(
        "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    parameters = [context, *parameters]

    @functools.wraps(command)
    def flat(context: typer.Context, **values: Any) -> None:
        sources = {name: context.get_parameter_source(name) for name in values}
        given = {
            name: values[name] for name, it in sources.items() if it and it.name == "COMMANDLINE"
        }
        void = overridden(given)
        values.update({name: defaults[name] for name in void & values.keys()})
        for name, kind in groups.items():
            members = {field.name: values.pop(field.name) for field in fields(kind)}
            values[name] = kind(**members)
        if takes_given:
            named = (name for name, it in sources.items() if it and it.name != "DEFAULT")
            values[takes_given] = GivenOptions(set(named) - void)
        command(**values)

    # The help breaks lines where the terminal ends, and would also break them where they do here.
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    flat.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
