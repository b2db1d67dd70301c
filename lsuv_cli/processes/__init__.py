"""Several processes on one run: how they find each other, exchange vectors, and end together.

In: the launcher's environment. Out: a `Group` that gathers moments.
"""
