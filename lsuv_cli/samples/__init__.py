"""Samples: files of pictures, arrays and token ids, read in batches.

In: what `--data` names. Out: feeds for the model. `files` finds them, `kinds` tells formats by
their names, `sources` reads one sample, `batch` chooses and batches them.
"""
