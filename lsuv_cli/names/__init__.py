"""Names of parameters in other frameworks, one file an exporter.

In: a model and its layers. Out: the tensors of the written file, by the names the training script
uses. `choose` picks the exporter; `torch` and `keras` read their names back.
"""
