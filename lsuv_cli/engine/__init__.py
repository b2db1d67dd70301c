"""The algorithm on a model and samples."""
