"""The report as JSON, as a table, as a page and as a plot."""
