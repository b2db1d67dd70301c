"""The table of operators: one row with everything that the program knows of an operator.

In: a node. Out: its operator's row. `table` holds the rows, `operator` defines their fields,
`products` says how the weight of a linear operator lies, `degrees` how an output grows with the
inputs, and `slopes` where an activation is flat.

A new activation is a row of `table`. A new linear operator is a row and, where its weight lies in a
new way, a function in `products`. An operator without a row runs unchanged on scaled inputs, which
may be slower but is never wrong.

Only the rewriting of particular operators is elsewhere, in `passes`.
"""
