"""One table of operators: everything that the program knows of an operator, as one row.

In: a node. Out: its operator's row, from `table`. `operator` says what a row may hold, `products`
how the weight of a linear operator lies, `slopes` where an activation is flat.

A new activation is a row of `table`; a new linear operator is a row and, where its weight lies in
none of the ways that `products` knows, a function there. The rest of the program asks the table. An
operator without a row is run as it is: that may be slower, and is never wrong.

Elsewhere are only rules for taking one particular operator apart (`passes`), and those for views of
parameters (`graph/views.py`).
"""
