"""The converters whose files `make converters` checks."""

from __future__ import annotations

import converter_jax
import converter_keras
import converter_optimised
import converter_paddle
import converter_sklearn
import converter_spox
import converter_tflite

CONVERTERS = {
    "keras-tensorflow": converter_keras.TENSORFLOW,
    "keras-jax": converter_keras.JAX,
    "keras-torch": converter_keras.TORCH,
    "tflite": converter_tflite.CONVERTER,
    "jax": converter_jax.CONVERTER,
    "paddle": converter_paddle.CONVERTER,
    "spox": converter_spox.CONVERTER,
    "sklearn": converter_sklearn.CONVERTER,
    "onnxsim": converter_optimised.ONNXSIM,
    "onnxslim": converter_optimised.ONNXSLIM,
    "float16": converter_optimised.FLOAT16,
    "extended": converter_optimised.EXTENDED,
}
