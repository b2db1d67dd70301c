"""The pure core: records and mathematics, on numpy and the standard library alone."""
