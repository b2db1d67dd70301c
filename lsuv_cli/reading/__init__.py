"""Model files: ONNX and TorchScript.

In: a path or bytes. Out: an `OnnxModel` in normal form, and its `Parameters`. `formats` opens a
file of any format, `onnx_file` reads ONNX, `torchscript` converts with PyTorch's exporter,
`torch_fixed` asks the module which of its tensors are trained, and `model` brings either to normal
form.

A new format: one file here that follows `model_format`, and one line in `FORMATS`.
"""
