"""The command line: text to options, results to the screen, and exit codes.

`app` is the entry point, `commands/` has one file per command, and `options/` declares the options;
`console` is the only writer to the screen, and `exits` ends the process.
"""
