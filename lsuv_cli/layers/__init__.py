"""Which nodes of a graph are layers.

In: an `OnnxModel`. Out: its layers and batch normalisations in execution order. `find` puts the
layers together from what the table of operators says of a node (`graph/operators`), the bias that
`bias_search` finds, and the matrices of `recurrent` operators; `left_alone` names what looks like a
layer and is not initialised, `quantised` refuses what can't be. `norms` finds normalisations,
`activations` the activation behind a layer.

A new layer operator: no file here, but its row in `graph/operators/table`.
"""
