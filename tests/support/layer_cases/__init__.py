"""Small modules whose layers are easily missed, spoiled or drawn by mistake, and what is right.

One file a kind: `computed` weights, `fixed` filters, `attention`, `experts`, and layers that are
`fed` by parameters. `table` has them all.
"""
