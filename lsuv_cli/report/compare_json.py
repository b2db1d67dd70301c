"""Results of `lsuv compare` as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from typing_extensions import TypedDict

from lsuv_cli.core.comparison import Comparison, Trial, growth
from lsuv_cli.core.records import PlannedLayer
from lsuv_cli.report.json_parts import (
    DrawSettings,
    LayerFacts,
    MomentFacts,
    RunFacts,
    SampleMembers,
    as_text,
    finite,
    layer_facts,
    moment_facts,
    run_facts,
    sample_members,
)
from lsuv_cli.report.json_types import Count, InitName, Keywords, NonNegative, Positive


class CompareSettings(DrawSettings):
    """Options that decide what is compared."""

    inits: Annotated[list[InitName], Keywords(minItems=1, uniqueItems=True)]
    backward: bool


class GradientFacts(TypedDict):
    """The samples of the gradients, or why there are no gradients."""

    samples: Count
    missing: str | None


# Called so since `from` is no name in Python.
GrowthFacts = TypedDict(
    "GrowthFacts", {"from": Positive, "to": NonNegative, "factor": NonNegative | None}
)


class InitFacts(TypedDict):
    """One initialisation, and how the signal grows from one end of the network to the other."""

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


class CompareDocument(RunFacts, SampleMembers):
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
        **run_facts(comparison),
        "options": cast("CompareSettings", dict(comparison.settings)),
        **sample_members(comparison),
        "gradients": {
            "samples": comparison.gradient_samples,
            "missing": comparison.no_gradients or None,
        },
        "inits": [_init(comparison, trial) for trial in comparison.trials],
        "layers": [
            _layer(comparison, index, planned) for index, planned in enumerate(comparison.layers)
        ],
    }
    return as_text(document)


def _init(comparison: Comparison, trial: Trial) -> InitFacts:
    return {
        "name": trial.init.value,
        "forward": _growth(comparison.forward(trial)),
        "backward": _growth(comparison.backward(trial)[::-1]),
        "failures": list(trial.failures),
    }


def _growth(stds: Sequence[float | None]) -> GrowthFacts | None:
    found = growth(stds)
    if found is None:
        return None
    return {"from": found.start, "to": found.end, "factor": finite(found.factor)}


def _layer(comparison: Comparison, index: int, planned: PlannedLayer) -> CompareLayer:
    return {
        **layer_facts(index, planned.layer),
        "target_std": planned.target_std,
        "forward": {trial.init.value: _forward(trial, index) for trial in comparison.trials},
        "backward": {
            trial.init.value: finite(trial.backward_std(index)) for trial in comparison.trials
        },
    }


def _forward(trial: Trial, index: int) -> ForwardFacts | None:
    facts = moment_facts(trial.forward.get(index))
    return None if facts is None else {**facts, "std": finite(trial.forward_std(index))}
