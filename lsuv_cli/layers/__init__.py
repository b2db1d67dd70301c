"""Which nodes of a graph are layers.

In: an `OnnxModel`. Out: its layers and batch normalisations in execution order. `find` holds the
rules for what is a layer and what is its bias; `norms` finds normalisations, `activations` what
stands behind a layer, `quantised` refuses what can't be initialised.
"""
