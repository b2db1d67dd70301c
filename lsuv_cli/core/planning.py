"""The plan: the layers to initialise, their targets, and why others are skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.errors import ModelError, UsageError
from lsuv_cli.core.indices import WeightIndex
from lsuv_cli.core.layer_names import matches, suggestion
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Layer, Plan, PlannedLayer
from lsuv_cli.core.scale_rule import ScaleRule, UnitVariance

Reason = tuple[str, Status]

SCALE_RULE: ScaleRule = UnitVariance()


def plan_layers(
    layers: Sequence[Layer],
    unusable: Sequence[Reason | None],
    options: WorkOptions,
    noted: Collection[str] = (),
) -> Plan:
    """Decide what is done with each layer.

    Args:
        layers: the model's layers, in execution order.
        unusable: for each layer why it can't be initialised whatever the options say, or None.
        options: the include, exclude and target options, and those for biases and scales.
        noted: the fields of the options whose globs may match nothing.

    Raises:
        UsageError: a glob matches nothing, or no layer is left by the options.
        ModelError: no layer can be initialised.
    """
    _check_globs(layers, options, noted)
    skipped = [_excluded(layer, options) or unusable[index] for index, layer in enumerate(layers)]
    planned: list[PlannedLayer] = []
    first_uses: dict[str, WeightIndex] = {}
    for index, layer in enumerate(layers):
        target = options.target_std
        for glob, std in options.targets:
            if matches(layer, glob):
                target = std
        reason, first = skipped[index], WeightIndex(index)
        if reason is None:
            first = next((first_uses[n] for n in layer.weight_values if n in first_uses), first)
            first_uses.setdefault(layer.weight_value, first)
        # A scale for each channel of its first use lies along another axis here.
        foreign_axis = (
            options.per is Per.CHANNEL and layer.weight_value != layers[first].weight_value
        )
        planned.append(
            PlannedLayer(
                layer,
                target,
                _bias(index, layers, skipped, options.bias),
                first,
                swept=reason is None and not foreign_axis and not layer.recurrent,
                skipped=reason[0] if reason else None,
                skipped_status=reason[1] if reason else Status.EXCLUDED,
            )
        )
    if not first_uses:
        _refuse_nothing_left(planned, unusable)
    planned = [_reached_elsewhere(one, planned, first_uses) for one in planned]
    return Plan(
        tuple(
            replace(one, needs_more_sweeps=one.swept and _needs_more_sweeps(one, planned))
            for one in planned
        ),
        options.per,
        SCALE_RULE,
    )


def _reached_elsewhere(
    one: PlannedLayer, planned: Sequence[PlannedLayer], first_uses: Mapping[str, WeightIndex]
) -> PlannedLayer:
    """Return a layer that no data reaches as shared, where another use of its weight is scaled."""
    uses = [first_uses[name] for name in one.layer.weight_values if name in first_uses]
    if one.skipped_status is not Status.UNREACHABLE or not uses:
        return one
    where = planned[min(uses)].layer.name
    text = f"scaled at {where}; {one.skipped} here"
    return replace(one, skipped=text, skipped_status=Status.SHARED)


def _excluded(layer: Layer, options: WorkOptions) -> Reason | None:
    if any(matches(layer, glob) for glob in options.exclude):
        return "matches --exclude", Status.EXCLUDED
    if options.include and not any(matches(layer, glob) for glob in options.include):
        return "matches no --include", Status.EXCLUDED
    return None


def _bias(
    index: int, layers: Sequence[Layer], skipped: Sequence[Reason | None], wanted: Bias
) -> Bias:
    """Return the treatment of a layer's bias: kept where it is fixed, or a skipped layer's too.

    One bias of several layers can't centre each of them, so that it becomes zero instead.
    """
    layer = layers[index]
    sharing = [
        other
        for other, one in enumerate(layers)
        if other != index and one.bias_value is not None and one.bias_value in layer.bias_values
    ]
    reasons = [skipped[other] for other in sharing]
    keeping = (Status.EXCLUDED, Status.FIXED)
    if layer.has_fixed_bias or any(reason and reason[1] in keeping for reason in reasons):
        return Bias.KEEP
    sharing = [other for other in sharing if skipped[other] is None]
    return Bias.ZERO if sharing and wanted is Bias.CENTER else wanted


def _refuse_nothing_left(
    planned: Sequence[PlannedLayer], unusable: Sequence[Reason | None]
) -> None:
    reasons = "; ".join(sorted({p.skipped for p in planned if p.skipped}))
    text = f"no layer is left to initialise: all {len(planned)} are skipped ({reasons})"
    if all(one.skipped_status is Status.FIXED for one in planned):
        text = (
            f"no layer is left to initialise: the model file says that training changes none of "
            f"the {len(planned)} ({reasons}); call requires_grad_(True) on each parameter that is "
            "trained, in the module or in what torch.jit.load returns, and save it again"
        )
    if all(reason is not None for reason in unusable):
        raise ModelError(text)
    raise UsageError(text)


def _needs_more_sweeps(one: PlannedLayer, planned: Sequence[PlannedLayer]) -> bool:
    """Return whether the weight is also read where the sweep does not follow its scale."""
    return (
        bool(one.layer.foreign_use)
        or (one.layer.foreign_addend and not _gets_zero_bias(one))
        or any(
            other.layer.weight_value in one.layer.weight_values and not other.swept
            for other in planned
        )
    )


def _gets_zero_bias(one: PlannedLayer) -> bool:
    """Return whether a layer's bias is computed from parameters that become zero."""
    return bool(one.layer.computed_bias) and one.bias is not Bias.KEEP


def idle_globs(layers: Sequence[Layer], options: WorkOptions) -> Iterator[tuple[str, str, str]]:
    """Yield each glob that matches no layer, after its field and its option.

    Args:
        layers: the model's layers.
        options: the include, exclude and target options.
    """
    given = [
        *(("include", "--include", glob) for glob in options.include),
        *(("exclude", "--exclude", glob) for glob in options.exclude),
        *(("targets", "--target", glob) for glob, _ in options.targets),
    ]
    for field, option, glob in given:
        if not any(matches(layer, glob) for layer in layers):
            yield field, option, glob


def _check_globs(layers: Sequence[Layer], options: WorkOptions, noted: Collection[str]) -> None:
    """Refuse a glob that matches nothing, which is a mistake that would go unnoticed."""
    for field, option, glob in idle_globs(layers, options):
        if field not in noted:
            raise UsageError(
                f"{option} {glob} matches no layer or weight{suggestion(layers, glob)}"
            )
