"""How long drawing orthonormal weights takes, and how orthonormal they are.

    python benchmarks/orthonormalisation.py

For single weights: our draws with numpy's QR and with torch's, `torch.nn.init.orthogonal_`, and
the bare `numpy.linalg.qr` of a Gaussian matrix. For whole models: which of the two `choose_qr`
picks, and what each would have taken, torch's import included.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

import common
import numpy as np
import torch

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.layout import FloatArray, Order, WeightLayout
from lsuv_cli.core.preinit import (
    QrFactorisation,
    draw,
    generator,
    gram_deviation,
    numpy_qr,
    orthonormal_flops,
)
from lsuv_cli.layers.find import find_layers
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.weights.qr import Factorisation, choose_qr

SHAPES = (
    (32, 32, 3, 3),
    (128, 128, 3, 3),
    (384, 384, 3, 3),
    (512, 512, 3, 3),
    (1000, 1024),
    (2048, 2048),
    (4096, 4096),
    (4096, 9216),
)
MODELS = ("fitnet4", "googlenet", "caffenet")

# With torch's import in front: whatever is chosen, no more than this much slower than the other.
TOLERANCE = 1.1

NUMPY, TORCH = choose_qr(0), choose_qr(math.inf)
torch_qr = TORCH.qr


def layout_of(shape: tuple[int, ...]) -> WeightLayout:
    """A convolution's weight, or a fully connected layer's."""
    return WeightLayout(shape, Order.CONV if len(shape) > 2 else Order.OUT_IN)


def draws(layout: WeightLayout) -> list[tuple[str, Callable[[], FloatArray]]]:
    """Every way to draw a weight, by name; each returns it as an array of the layout's shape."""
    _, rows, columns = layout.matrices

    def ours(qr: QrFactorisation) -> FloatArray:
        return draw(PreInit.ORTHONORMAL, layout, generator(0, "weight"), qr)

    def torch_init() -> FloatArray:
        weight: FloatArray = torch.nn.init.orthogonal_(torch.empty(layout.shape)).numpy()
        return weight

    def bare() -> FloatArray:
        tall = (max(rows, columns), min(rows, columns))
        q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal(tall, dtype=np.float32))
        weight: FloatArray = (q if rows >= columns else q.T).reshape(layout.shape)
        return weight

    return [
        ("numpy", lambda: ours(numpy_qr)),
        ("torch", lambda: ours(torch_qr)),
        ("orthogonal_", torch_init),
        ("numpy.linalg.qr", bare),
    ]


def measure_shape(shape: tuple[int, ...]) -> list[str]:
    """A row for one weight."""
    layout = layout_of(shape)
    deviations: dict[str, float] = {}
    works: list[tuple[str, Callable[[], object]]] = []
    for label, make in draws(layout):
        deviations[label] = gram_deviation(layout, make())  # also the warm-up
        works.append((label, make))
    gigaflop = orthonormal_flops(layout) / 1e9
    rounds = max(1, min(9, round(100 / gigaflop)))
    seconds = common.interleaved(works, rounds)
    return [
        "x".join(map(str, shape)),
        f"{gigaflop:.2g}" if gigaflop < 10 else f"{gigaflop:.0f}",
        *(f"{min(times):.2g}" for times in seconds.values()),
        f"{min(seconds['numpy']) / min(seconds['torch']):.1f}",
        *(f"{deviation:.1e}" for deviation in deviations.values()),
    ]


def torch_import_seconds() -> float:
    """Seconds that importing torch takes in a process that has numpy already; the least of 3."""
    code = (
        "import time, numpy; start = time.perf_counter(); import torch;"
        "print(time.perf_counter() - start)"
    )
    return min(float(common.captured([sys.executable, "-c", code])) for _ in range(3))


def measure_model(name: str, importing: float) -> list[str]:
    """A row for one model."""
    model, _ = read_model(common.case(name).model)
    layouts = [layer_node.layer.layout for layer_node in find_layers(model)]

    def draw_all(factorisation: Factorisation) -> None:
        def drawn(index: int) -> FloatArray:
            rng = generator(0, str(index))
            return draw(PreInit.ORTHONORMAL, layouts[index], rng, factorisation.qr)

        with factorisation.mapping() as map_:
            for _ in map_(drawn, range(len(layouts))):
                pass

    flops = sum(map(orthonormal_flops, layouts))
    rounds = 3 if flops < 1e11 else 1
    seconds = common.interleaved(
        [(name, partial(draw_all, one)) for name, one in (("numpy", NUMPY), ("torch", TORCH))],
        rounds,
    )
    with_numpy = min(seconds["numpy"])
    with_torch = min(seconds["torch"]) + importing
    takes_numpy = choose_qr(flops).qr is numpy_qr
    taken, other = (with_numpy, with_torch) if takes_numpy else (with_torch, with_numpy)
    return [
        name,
        f"{flops / 1e9:.1f}",
        f"{with_numpy:.2f}",
        f"{with_torch - importing:.2f}",
        f"{with_torch:.2f}",
        "numpy" if takes_numpy else "torch",
        common.verdict(taken <= TOLERANCE * other),
    ]


def main(shapes: Sequence[tuple[int, ...]] = SHAPES) -> None:
    """Measure every shape, then every model."""
    argparse.ArgumentParser(description="Time the draws of orthonormal weights.").parse_args()
    labels = [label for label, _ in draws(layout_of(shapes[0]))]
    common.print_table(
        "Drawing one orthonormal weight: seconds (the least of 1 to 9 draws, in turn), then "
        "max |W W^T - I|",
        [
            *("shape", "GFLOP", *labels, "numpy / torch"),
            *(f"I: {label}" for label in labels),
        ],
        [measure_shape(shape) for shape in shapes],
    )
    importing = torch_import_seconds()
    common.print_table(
        f"Drawing all weights of a model, seconds (the least of 3 draws, of 1 for the large); "
        f"importing torch takes {importing:.2f} s; goal: the choice is the faster",
        ["model", "GFLOP", "numpy", "torch", "torch + import", "choice", "goal"],
        [measure_model(name, importing) for name in MODELS],
    )


if __name__ == "__main__":
    main()
