"""lsuv: layer-sequential unit-variance initialisation of ONNX models from sample data."""

__version__ = "0.1.0"
