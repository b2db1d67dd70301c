"""Options of the commands: each is declared once, with its help, where its group is.

`data`, `algorithm`, `layers`, `output` and `machine` are the panels of the help. A group is a
dataclass whose fields are options; its `options` method turns their texts into fields of the frozen
records in `core/options`. `expand` shows Typer a command's groups as single options. An option of
one command alone stands in that command's file in `commands/`.
"""
