"""Several processes on one run: how they find each other, exchange vectors, and end together."""
