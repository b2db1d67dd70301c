"""Results of `lsuv compare` as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from typing_extensions import TypedDict

from lsuv_cli.core.comparison import ComparedInit, Comparison, growth
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.records import PlannedLayer
from lsuv_cli.report.json_parts import (
    DrawSettings,
    LayerFacts,
    MomentFacts,
    RunMembers,
    SampleMembers,
    as_text,
    finite,
    layer_facts,
    moment_facts,
    run_members,
    sample_members,
)
from lsuv_cli.report.json_types import Count, InitName, Keywords, NonNegative, Positive


class CompareSettings(DrawSettings):
    """Options that decide what is compared."""

    inits: Annotated[list[InitName], Keywords(minItems=1, uniqueItems=True)]
    backward: bool


class GradientFacts(TypedDict):
    """Number of samples of the gradients, or the reason why there are no gradients."""

    samples: Count
    missing: str | None


# Called so since `from` is no name in Python.
GrowthFacts = TypedDict(
    "GrowthFacts", {"from": Positive, "to": NonNegative, "factor": NonNegative | None}
)


class InitFacts(TypedDict):
    """An initialisation, and the growth of the signal through the network."""

    name: InitName
    forward: GrowthFacts | None
    backward: GrowthFacts | None
    failures: list[str]


class ForwardFacts(MomentFacts):
    """Moments of a layer's output with one initialisation."""

    std: NonNegative | None


class CompareLayer(LayerFacts):
    """Results at one layer, by initialisation."""

    target_std: Positive
    forward: dict[InitName, ForwardFacts | None]
    backward: dict[InitName, NonNegative | None]


class CompareDocument(RunMembers, SampleMembers):
    """Output of `lsuv compare --json`."""

    schema: Literal["lsuv.compare/1"]
    options: CompareSettings
    gradients: GradientFacts
    inits: Annotated[list[InitFacts], Keywords(minItems=1)]
    layers: Annotated[list[CompareLayer], Keywords(minItems=1)]


def comparison_json(comparison: Comparison) -> str:
    """Return the results as indented JSON text; docs/compare.schema.json is its schema."""
    document: CompareDocument = {
        "schema": "lsuv.compare/1",
        **run_members(comparison),
        "options": cast("CompareSettings", dict(comparison.settings)),
        **sample_members(comparison),
        "gradients": {
            "samples": comparison.gradient_samples,
            "missing": comparison.no_gradients or None,
        },
        "inits": [_init(comparison, one) for one in comparison.inits],
        "layers": [
            _layer(comparison, index, planned) for index, planned in by_layer(comparison.layers)
        ],
    }
    return as_text(document)


def _init(comparison: Comparison, one: ComparedInit) -> InitFacts:
    return {
        "name": one.init.value,
        "forward": _growth(comparison.forward(one)),
        "backward": _growth(comparison.backward(one)[::-1]),
        "failures": list(one.failures),
    }


def _growth(stds: Sequence[float | None]) -> GrowthFacts | None:
    found = growth(stds)
    if found is None:
        return None
    return {"from": found.start, "to": found.end, "factor": finite(found.factor)}


def _layer(comparison: Comparison, index: LayerIndex, planned: PlannedLayer) -> CompareLayer:
    return {
        **layer_facts(index, planned.layer),
        "target_std": planned.target_std,
        "forward": {one.init.value: _forward(one, index) for one in comparison.inits},
        "backward": {one.init.value: finite(one.backward_std(index)) for one in comparison.inits},
    }


def _forward(one: ComparedInit, index: LayerIndex) -> ForwardFacts | None:
    facts = moment_facts(one.forward.get(index))
    return None if facts is None else {**facts, "std": finite(one.forward_std(index))}
