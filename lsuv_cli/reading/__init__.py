"""Model files: ONNX, and PyTorch's `.pt2` and TorchScript.

In: a path or bytes. Out: an `OnnxModel` in normal form, and its `Parameters`. `formats` opens a
file of any format, `onnx_file` reads ONNX, `pt2` and `torchscript` convert with PyTorch's
exporters, `torch_fixed` asks a module which of its tensors are trained, and `model` brings all of
them to normal form.

A new format: one file here that follows `model_format`, and one line in `FORMATS`.
"""
