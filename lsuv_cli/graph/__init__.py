"""An ONNX graph in memory.

In: protobuf messages. Out: nodes, the parameters they read, views of these, and new graphs.
`nodes` reads a node, `uses` says who makes and who reads each value, `views` follows a parameter
through nodes that only rearrange it, `parameters` holds values, `topology` orders nodes,
`dataflow` and `homogeneous` say how values depend on others,
`editable` is the graph that passes rewrite, `builder` makes a new graph, and `operators/table` is
the table of all that is known of operators.

A new activation or linear operator: its row in `operators/table`.
"""
