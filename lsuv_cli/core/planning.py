"""Which layers are initialised, to what standard deviation, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.records import Layer, Plan, PlannedLayer


def matches(layer: Layer, glob: str) -> bool:
    """Whether a glob matches the layer's name or its weight's."""
    return fnmatchcase(layer.name, glob) or fnmatchcase(layer.parameter, glob)


def plan_layers(
    layers: Sequence[Layer],
    unusable: Sequence[tuple[str, Status] | None],
    options: InitOptions,
) -> Plan:
    """Decide what is done with each layer.

    Args:
        layers: the model's layers, in execution order.
        unusable: for each layer why it can't be initialised whatever the options say, or None.
        options: what the user asked for.

    Raises:
        UsageError: a glob matches nothing, or no layer is left.
    """
    _check_globs(layers, options)
    planned: list[PlannedLayer] = []
    first_uses: dict[str, int] = {}
    for index, layer in enumerate(layers):
        skipped, status = None, Status.EXCLUDED
        problem = unusable[index]
        if problem is not None:
            skipped, status = problem
        elif any(matches(layer, glob) for glob in options.exclude):
            skipped = "matches --exclude"
        elif options.include and not any(matches(layer, glob) for glob in options.include):
            skipped = "matches no --include"
        target = options.target_std
        for glob, std in options.targets:
            if matches(layer, glob):
                target = std
        first = index
        if skipped is None:
            first = next((first_uses[n] for n in layer.names if n in first_uses), index)
            first_uses.setdefault(layer.weight, first)
        # A scale for each channel of its first use lies along another axis here.
        foreign_axis = options.per is Per.CHANNEL and layer.weight != layers[first].weight
        planned.append(
            PlannedLayer(
                layer,
                target,
                first,
                swept=skipped is None and not foreign_axis,
                skipped=skipped,
                skipped_status=status,
            )
        )
    if not first_uses:
        reasons = sorted({p.skipped for p in planned if p.skipped})
        raise UsageError(
            f"no layer is left to initialise: all {len(layers)} are skipped ({'; '.join(reasons)})"
        )
    return Plan(
        tuple(replace(one, inexact=one.swept and _is_inexact(one, planned)) for one in planned),
        options.per,
        options.bias,
    )


def _is_inexact(one: PlannedLayer, planned: Sequence[PlannedLayer]) -> bool:
    """Whether the weight is also read where the sweep does not follow its scale."""
    return bool(one.layer.foreign_use) or any(
        other.layer.weight in one.layer.names and not other.swept for other in planned
    )


def _check_globs(layers: Sequence[Layer], options: InitOptions) -> None:
    """Refuse a glob that matches nothing: it is a slip, and would go unnoticed."""
    given = [
        *(("--include", glob) for glob in options.include),
        *(("--exclude", glob) for glob in options.exclude),
        *(("--target", glob) for glob, _ in options.targets),
    ]
    for option, glob in given:
        if not any(matches(layer, glob) for layer in layers):
            some = ", ".join(layer.name for layer in layers[:4])
            raise UsageError(
                f"{option} {glob} matches no layer or weight name; the layers are "
                f"{some}{', ...' if len(layers) > 4 else ''}"
            )
