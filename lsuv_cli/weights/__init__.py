"""Weights, from a model to a file and back.

In: parameters. Out: checkpoints, ONNX files with other values, and checkpoints loaded into a model.
`weights_format` is the seam of checkpoint formats and `formats` their table: another format is a
file beside `safetensors_file` and a line there. `shards` spreads a checkpoint over several files,
`weights_output` fills it during the sweep, `load` puts one into a model, `onnx_output` writes ONNX,
and `qr` factorises for the draws. `checkpoint_fit` says what a checkpoint lacks, `checkpoint_names`
which of its names are one tensor's, and `like` fits the written tensors to that of `--like`.
`output_checks` refuses outputs before any work is done, and `atomic_files` gives files their names
when they are complete.
"""
