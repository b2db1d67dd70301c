"""Rewrites of a graph, one file per pass.

In: a graph as an exporter wrote it. Out: the same function in normal form, in which each layer is
one node that reads its weight directly. Each pass is a `Pass` (`pipeline`) that changes an
`EditableGraph`; `normal_form` lists them in the order in which they run.

Before the normal form, on a model file as it was read: `control_flow` finds If, Loop and Scan with
layers inside, `hoist` moves their constants out, and `unroll` replaces them by what they do on the
samples.

Some passes change nothing and record what later stages need: `activations` tells activations from
weights, and `computed_weights` how a weight follows from the parameters it is computed from.

A new pattern of an exporter: one file here that defines `PASS`, and one line in
`normal_form.PASSES`.
"""
