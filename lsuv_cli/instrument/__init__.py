"""Graphs that measure and sweep.

In: a model, its layers and a plan. Out: serialised graphs whose outputs are moments. `steps` and
`segments` cut the work, `taps` reduces a value to its moments, `sweep` builds the graph that scales
while it measures, `graph_values` keeps the scales that are still pending, `tapped_graph` taps the
untouched graph.
"""
