"""Graphs that measure and sweep.

In: a model, its layers and a plan. Out: serialised graphs whose outputs are moments.

- `steps` lists the steps of a sweep, and `segments` cuts them; `tracer` finds where, and
  `constant_steps` puts what does not depend on the samples into each segment that reads it.
- `sweep_graph` builds the graph of a sweep from them: `sweep_products`, `sweep_biases`,
  `sweep_norms` and `sweep_nodes` each add one kind of step. `graph_values` knows the scale that is
  pending on each value, and `graph_scales` computes scales within the graph.
- `taps` reduces a value to its moments; `tapped_graph` and `distribution_graph` tap the model's own
  graph; `differentiable` prepares it for gradients; `constant_graph` computes a weight from its
  parameters; `close` serialises the others.
"""
