"""Weights, from a model to a file and back.

In: parameters. Out: checkpoints, an ONNX file with other values, and a checkpoint's tensors put
into a model. `weights_format` is the seam of file formats and `formats` their table: another format
is a file beside `safetensors_file` and a line there. `shards` spreads a checkpoint over several
files, `written` fills it while the sweep goes on, `load` puts one into a model, `model_file` writes
ONNX, and `qr` factorises for the draws.
"""
