"""Operators that multiply by a weight."""

from __future__ import annotations

PRODUCT_OPERATORS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))


# Operators with weights like a layer's that are not initialised.
LEFT_ALONE = frozenset(
    (
        "Attention",
        "DeformConv",
        "Einsum",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "GRU",
        "GemmFastGelu",
        "LSTM",
        "NhwcConv",
        "RNN",
    )
)


# Whatever multiplies by a weight, in ONNX's and in ONNX Runtime's domain.
LAYER_LIKE = PRODUCT_OPERATORS | LEFT_ALONE
