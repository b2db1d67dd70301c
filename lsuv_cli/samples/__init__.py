"""Samples: files of pictures, arrays and token ids, read in batches.

In: what `--data` names. Out: feeds for the model. To add a format, write a file here and add it to
the table in `formats`. `files` finds the files, `open_samples` opens them, `picture_source` and
`array_source` read samples as what the model is fed, `batch` chooses samples and batches them.
"""
