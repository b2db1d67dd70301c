"""What each command does, from top to bottom: one file a command.

In: options. Out: a report. `opening` and `preparing` are the steps they share.
"""
