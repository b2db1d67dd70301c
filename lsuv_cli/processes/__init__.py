"""Several processes on one run: how they find each other, exchange vectors, and end together.

In: the launcher's environment. Out: a `Group` that gathers moments. `launch` reads the environment,
`rendezvous` is where the processes meet, `heartbeats` tells who is missing, `exchange` gathers.
`run` opens them and decides which process reports an error, in the words of `failure_messages`.
"""
