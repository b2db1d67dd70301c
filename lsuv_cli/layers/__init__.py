"""Which nodes of a graph are layers.

In: an `OnnxModel`. Out: its layers and batch normalisations in execution order. `find` puts the
layers together from what `products` says of a node, the bias that `bias_search` finds, and the
matrices of `recurrent` cells; `left_alone` names what looks like a layer and is none. `norms` finds
normalisations, `activations` what stands behind a layer, `quantised` refuses what can't be
initialised.
"""
