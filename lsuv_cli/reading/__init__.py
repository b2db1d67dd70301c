"""Model files: ONNX and TorchScript.

In: a path or bytes. Out: an `OnnxModel` in normal form, and its `Parameters`. `onnx_file` reads
ONNX, `torchscript` converts with PyTorch's exporter, `model` brings either to normal form.
"""
