"""The small languages of the options, and the plan they lead to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsuv_cli.core.choices import Status
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.option_texts import (
    PRESETS,
    normalisation,
    parse_bytes,
    parse_input_shape,
    parse_numbers,
    parse_size,
    parse_target,
)
from lsuv_cli.core.options import InitOptions, SampleOptions, Size
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import Layer

side = st.integers(1, 10_000)


@given(side, side)
def test_sizes_round_trip(height: int, width: int) -> None:
    assert parse_size(f"{height}x{width}", "--crop") == Size(height, width)
    assert parse_size(str(width), "--crop") == Size(None, width)
    assert str(parse_size(f"{height}x{width}", "--crop")) == f"{height}x{width}"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("5GB", 5 * 10**9), ("5 GiB", 5 * 2**30), ("1.5mb", 1_500_000), ("4096", 4096)),
        *(("2K", 2000), ("1TiB", 2**40), (" 7 B ", 7)),
    ],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes(text, "--max-shard-size") == size


@pytest.mark.parametrize("text", ["5GB junk", "GB", "", "-1", "1e9", "0", "0.1", "5 G i B", "1PB"])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_bytes(text, "--max-shard-size")


def test_bytes_without_the_unit_that_was_meant() -> None:
    with pytest.raises(UsageError, match="--memory 4: 4 bytes; write a unit, as 4GB or 4MB"):
        parse_bytes("4", "--memory")


@given(st.lists(side, min_size=1, max_size=4), st.sampled_from(["", "x", "in:put", "a.b/c"]))
def test_input_shapes_round_trip(sizes: list[int], name: str) -> None:
    prefix = f"{name}:" if name else ""
    expected = (name, tuple(sizes))
    assert parse_input_shape(prefix + ",".join(map(str, sizes))) == expected
    assert parse_input_shape(prefix + "[" + ",".join(map(str, sizes)) + "]") == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_round_trip(numbers: list[float]) -> None:
    assert parse_numbers(",".join(map(repr, numbers)), "--mean") == tuple(numbers)


@pytest.mark.parametrize("text", ["", "0", "-1", "224x", "x224", "2 24", "224 junk", "1.5", "axb"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--resize"):
        parse_size(text, "--resize")


@pytest.mark.parametrize("text", ["", "a", "1,,2", "nan", "inf", "1;2"])
def test_bad_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="--mean"):
        parse_numbers(text, "--mean")


@pytest.mark.parametrize("text", ["", "x", "x:", "x:a", "x:3,0,5", "x:-1,2", "x:3,,4"])
def test_bad_input_shapes(text: str) -> None:
    with pytest.raises(UsageError, match="--input-shape"):
        parse_input_shape(text)


@pytest.mark.parametrize("text", ["", "fc", "fc=", "=1", "fc=0", "fc=-1", "fc=nan", "fc=inf"])
def test_bad_targets(text: str) -> None:
    with pytest.raises(UsageError, match="--target"):
        parse_target(text)


def test_a_target_may_hold_equals_signs() -> None:
    assert parse_target("a=b*=0.5") == ("a=b*", 0.5)


def test_normalisation() -> None:
    imagenet = PRESETS["imagenet"]
    assert normalisation("imagenet", None, None) == (imagenet.mean, imagenet.std)
    assert normalisation(None, "0.5", "0.1,0.2") == ((0.5,), (0.1, 0.2))
    assert normalisation(None, None, None) == ((), ())
    for arguments in (("imagenet", "1", None), ("no", None, None), (None, None, "0")):
        with pytest.raises(UsageError):
            normalisation(*arguments)


def layer(name: str, weight: str) -> Layer:
    layout = WeightLayout((4, 3), Order.OUT_IN)
    return Layer(
        name=name,
        node=name,
        op="Gemm",
        weight_value=weight,
        weight_name=weight,
        original_weight_name=weight,
        tied_values=frozenset(),
        bias_value=None,
        bias_name=None,
        bias_shape=(),
        bias_values=frozenset(),
        has_fixed_bias=False,
        foreign_addend=False,
        foreign_use="",
        dtype=np.dtype(np.float32),
        layout=layout,
        output=f"{name}.out",
        parameter_count=12,
    )


LAYERS = [layer("conv1", "conv1.weight"), layer("conv2", "w2"), layer("fc", "fc.weight")]


def options(**more: object) -> InitOptions:
    return InitOptions(model=Path("m"), out=Path("o"), samples=SampleOptions(("d",)), **more)  # type: ignore[arg-type]


def test_plan_includes_excludes_and_targets() -> None:
    plan = plan_layers(
        LAYERS,
        [None, None, None],
        options(
            include=("conv*", "fc.weight"),
            exclude=("w2",),
            target_std=2.0,
            targets=(("*", 3.0), ("fc", 0.5)),
        ),
    )
    assert [p.skipped for p in plan.layers] == [None, "matches --exclude", None]
    assert [p.target_std for p in plan.layers] == [3.0, 3.0, 0.5]
    assert plan.initialised() == [0, 2]


def test_plan_scales_a_shared_weight_at_its_first_use() -> None:
    layers = [layer("a", "w"), layer("b", "v"), layer("c", "w")]
    plan = plan_layers(layers, [None] * 3, options())
    assert [p.first_use for p in plan.layers] == [0, 1, 0]
    assert plan.initialised() == [0, 1]


def test_plan_keeps_the_reason_of_what_cannot_be_done() -> None:
    reasons = [("no data reaches it", Status.UNREACHABLE), None, None]
    plan = plan_layers(LAYERS, reasons, options())
    assert plan.layers[0].skipped == "no data reaches it"
    assert plan.layers[0].skipped_status is Status.UNREACHABLE


def test_plan_refuses_globs_that_match_nothing() -> None:
    for name in ("include", "exclude"):
        with pytest.raises(UsageError, match=f"--{name} nothing.* conv1 .*, conv2 .*, fc "):
            plan_layers(LAYERS, [None] * 3, options(**{name: ("nothing",)}))
    with pytest.raises(UsageError, match="--target nothing"):
        plan_layers(LAYERS, [None] * 3, options(targets=(("nothing", 1.0),)))


def test_plan_refuses_to_do_nothing() -> None:
    with pytest.raises(UsageError, match="all 3 are skipped"):
        plan_layers(LAYERS, [None] * 3, options(exclude=("*",)))
