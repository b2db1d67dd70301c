"""The layers and batch normalisations of a model.

In: an `OnnxModel`. Out: its layers and batch normalisations in execution order. `find` puts the
layers together from the `products` of the table of operators (`graph/operators`), the biases that
`bias_search` finds, and the matrices of `recurrent` operators. `left_alone` gives the reason why a
product with a constant is no layer; `fixed` tells the layers whose weights training does not
change, and `handmade` weights that look so; `quantised` refuses models with quantised weights.
`norms` finds batch normalisations, `activations` the activation behind each layer.

A new layer operator needs no file here, only its row in `graph/operators/table`.
"""
