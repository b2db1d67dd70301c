"""The memory that a run takes, and how it is divided.

In: a model and one or two samples. Out: a `Budget`, which tells how many samples go through at a
time. `trial` runs the model on one sample and on two, segment by segment; `run_memory` reads what
ONNX Runtime's profiler reports of a run; `use` draws the lines through both; `liveness` computes
from shapes what can't be run; `budget` divides the memory and predicts a sweep.
"""
