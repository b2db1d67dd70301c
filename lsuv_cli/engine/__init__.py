"""LSUV on a model and samples: draw, sweep, scale, measure.

In: a `Setup`, which is a model, its plan and its batches. Out: weights that give every layer its
target, and measurements. `iterate` repeats `sweep` until every scale is final; `draw` draws weights
and `rescale` scales them, with `gains` and `channel_axes` for weights that are computed from
parameters; `measure_outputs` and `batch_statistics` measure without scaling, and `distributions`
counts histograms. `gradients` is the backward half of `lsuv compare`, and `branches` finds the
bodies of If, Loop and Scan that the samples reach.
"""
