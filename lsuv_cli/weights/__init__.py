"""Weights, from a model to a file and back.

In: parameters. Out: safetensors files, shards, an ONNX file with other values; and a checkpoint's
tensors put into a model. `written` fills the file while the sweep goes on, `shards` and
`safetensors_file` write it, `tensors` and `load` read, `qr` factorises for the draws.
"""
