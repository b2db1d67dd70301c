"""The report as JSON and as a table."""
