"""Layers of a graph."""
