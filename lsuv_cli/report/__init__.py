"""Results for people and programs: JSON, terminal tables, the HTML page, the plot.

In: records of `core`. Out: text and files.
"""
