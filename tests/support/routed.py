"""A graph that sends its samples to one of several branches each, by what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.graphs import Array, node, random_weight, save_graph

INPUTS, HIDDEN, OUTPUTS = 6, 8, 4
BRANCHES = 4  # the last of which is for no number that the samples have


def save_routed(path: Path, *, norms: bool = False) -> dict[str, Array]:
    """Save the graph; return its weights.

    A sample whose first number is in [e, e + 1) goes through the two layers of branch e, `h{e}` and
    `y{e}`; all go through `z` in the end, in another order.

    Args:
        path: the file to write.
        norms: whether a normalisation stands between the two layers.
    """
    weights = {"first": np.array(0, np.int64), "u": random_weight(OUTPUTS, 5)}
    nodes = [node("Gather", "x first", "key", axis=1)]
    for e in range(BRANCHES):
        weights |= {f"low{e}": np.array(e, np.float32), f"high{e}": np.array(e + 1, np.float32)}
        weights |= {f"w{e}": random_weight(INPUTS, HIDDEN, seed=e), f"b{e}": random_weight(HIDDEN)}
        weights |= {f"v{e}": random_weight(HIDDEN, OUTPUTS, seed=e)}
        nodes += [
            *(node("Less", f"key high{e}", f"below{e}"), node("Less", f"key low{e}", f"lower{e}")),
            *(node("Not", f"lower{e}", f"above{e}"), node("And", f"above{e} below{e}", f"in{e}")),
            *(node("NonZero", f"in{e}", f"nz{e}"), node("Squeeze", f"nz{e} axes", f"at{e}")),
            *(node("Gather", f"x at{e}", f"r{e}"), node("Gemm", f"r{e} w{e} b{e}", f"h{e}")),
        ]
        hidden = f"h{e}"
        if norms:
            parts = {"scale": 1.5, "shift": 0.1, "mean": 0.3, "var": 2.0}
            weights |= {f"{k}{e}": np.full(HIDDEN, v, np.float32) for k, v in parts.items()}
            inputs = " ".join(f"{part}{e}" for part in parts)
            nodes.append(node("BatchNormalization", f"{hidden} {inputs}", f"n{e}"))
            hidden = f"n{e}"
        nodes += [node("Relu", hidden, f"a{e}"), node("MatMul", f"a{e} v{e}", f"y{e}")]
    weights["axes"] = np.array([0], np.int64)
    together = " ".join(f"y{e}" for e in range(BRANCHES))
    nodes += [node("Concat", together, "c", axis=0), node("MatMul", "c u", "z")]
    save_graph(path, nodes, weights, ("n", INPUTS))
    return weights


def routed_samples(path: Path, count: int = 40) -> Array:
    """Save samples of which branch 0 has all of the first nine, and return them."""
    samples = random_weight(count, INPUTS) * 1.5 + 0.25
    samples[:, 0] = np.random.default_rng(0).choice([0.5, 1.5, 2.5], count, p=[0.5, 0.3, 0.2])
    samples[:9, 0] = 0.5
    np.save(path, samples)
    return samples
