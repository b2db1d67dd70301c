"""LSUV on a model and samples: draw, sweep, rescale, measure.

In: a `Setup`, which is a model, its plan and its batches. Out: weights that give every layer its
target, and what was measured. `iterate` repeats `sweep` until every scale is final; `measure` and
`forward` measure without scaling; `gradients` is the backward half of `lsuv compare`.
"""
