"""The commands as Python functions, on models and samples in memory or in files.

In: a module, a program or a model file, and samples. Out: results that print as the command's
table. `calls` has the functions, `keywords` their options, `given` turns what the caller gives into
what the jobs take, `in_place` writes weights into a module, and `results` is what is returned.
"""
