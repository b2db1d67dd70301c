"""Graphs that measure and sweep."""
