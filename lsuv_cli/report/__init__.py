"""Results for people and programs: JSON, terminal tables, the HTML page, the plot.

In: records of `core`. Out: text and files. Each command has one file per form: `init_json`,
`init_table` and `init_page`, and likewise `verify_*`, `compare_*` and `inspect_*`. They share
`json_parts`, `columns` (with `terminal`) and `page_parts`; `numbers` and `words` write numbers
and sentences. The types in `*_json` are also what the schemas in docs/ are generated from.
`outputs` lists the formats in which a `Page` (`page`) is written: as HTML by `html`, as pictures
by `plot`.
"""
