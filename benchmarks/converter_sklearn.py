"""Models of scikit-learn that skl2onnx converts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from converter_entry import Converter, Written

FEATURES, CLASSES = 12, 4


def write() -> Iterator[Written]:
    """Yield a classifier, a regressor, and a pipeline that scales its features first."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, FEATURES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 200)
    hidden: dict[str, Any] = {"hidden_layer_sizes": (16, 16), "max_iter": 2, "random_state": 0}
    models = {
        "MLPClassifier": MLPClassifier(**hidden).fit(rows, labels),
        "MLPRegressor, tanh": MLPRegressor(activation="tanh", **hidden).fit(rows, rows[:, 0]),
        "StandardScaler, MLPClassifier": make_pipeline(
            StandardScaler(), MLPClassifier(**hidden)
        ).fit(rows, labels),
    }
    for name, fitted in models.items():
        # `zipmap` would make a list of dictionaries of the probabilities.
        options = {"zipmap": False} if "Classifier" in name else None
        model = to_onnx(fitted, rows[:1], options=options)
        yield Written(name, model, {model.graph.input[0].name: (FEATURES,)})


CONVERTER = Converter("skl2onnx", ("scikit-learn", "skl2onnx"), write)
