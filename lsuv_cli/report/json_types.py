"""Types of values in the JSON documents, with what their JSON schemas say of them.

The types alone say `integer` or `string`; `Keywords` adds the rest, without a library at run time.
`tests/test_schemas.py` makes the schemas from these types by pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from lsuv_cli.core.choices import BatchNorm, Bias, Init, Per, PreInit, Status

JsonSchema = dict[str, Any]


class Keywords:
    """JSON Schema keywords of a type, beside those that follow from it."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: Callable[[Any], JsonSchema]
    ) -> JsonSchema:
        """Return the type's schema with the keywords; the name is pydantic's."""
        return handler(core_schema) | self.keywords


def one_of(values: Iterable[str]) -> Keywords:
    """Return the keywords of a string that is one of some values."""
    return Keywords(enum=[str(value) for value in values])


def _statuses(*excluded: Status) -> Keywords:
    return one_of(status for status in Status if status not in excluded)


Count = Annotated[int, Keywords(minimum=0)]
PositiveCount = Annotated[int, Keywords(minimum=1)]
NonNegative = Annotated[float, Keywords(minimum=0)]
Positive = Annotated[float, Keywords(exclusiveMinimum=0)]
Share = Annotated[float, Keywords(minimum=0, maximum=1)]
Sha256 = Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]

WeightDtype = Annotated[str, one_of(("float32", "float16", "bfloat16", "float64"))]
PreInitName = Annotated[str, one_of(PreInit)]
InitName = Annotated[str, one_of(Init)]
BiasName = Annotated[str, one_of(Bias)]
PerName = Annotated[str, one_of(Per)]
BatchNormName = Annotated[str, one_of(BatchNorm)]
InitStatus = Annotated[str, _statuses(Status.WITHIN, Status.OUTSIDE)]
SkippedStatus = Annotated[
    str,
    one_of(
        (
            Status.UNREACHABLE,
            Status.SHARED,
            Status.EXCLUDED,
            Status.FIXED,
            Status.UNSCALABLE,
        )
    ),
]
VerifyStatus = Annotated[str, _statuses(Status.CONVERGED, Status.MAX_ITERATIONS)]
