"""Names of parameters in the frameworks that models are exported from, one file per exporter.

In: a model and its layers. Out: the tensors of the written file, by the names the training script
uses. `exporter` is the seam and `exporters` the registry: another exporter's names are a file
beside `torch` and `keras` and a line there. `choose` asks the exporter that wrote the file.

Files of PyTorch's dynamo exporter list the module's tensors (`torch_exported`); for others the
names of nodes and constants tell (`torch_names`).
"""
