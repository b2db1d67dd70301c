"""Rewrites of a graph, one file a pass.

In: a graph as an exporter wrote it. Out: the same function in normal form, in which each layer is
one node that reads its weight directly. `normal_form` runs the passes in order.

A new pattern of an exporter: one file here and one line in `normal_form`.
"""
