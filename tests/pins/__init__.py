"""Pinned results: runs of the command whose outputs must not change unnoticed."""
