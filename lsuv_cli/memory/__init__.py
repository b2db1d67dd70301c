"""Memory that a run takes, and how it is divided.

In: a model and the shapes of its samples. Out: a `Budget`, which tells how many samples go through
at a time.
"""
