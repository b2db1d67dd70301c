"""The command line: text to options, results to the screen, and exit codes.

`app` is the entry point and `commands/` has one file a command; `arguments` and `flags` declare the
options, `console` is the only writer to the screen, `exits` ends the process.
"""
