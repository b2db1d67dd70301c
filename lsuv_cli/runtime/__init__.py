"""ONNX Runtime: sessions, devices, and one pass of all batches.

In: serialised graphs and batches. Out: moments, and values kept between segments. `session` runs a
graph, `devices` chooses where, `data_pass` sends all batches through a segment, `store` and `spill`
keep what the next segment reads, `gathering` merges what several processes have measured, and
`resume_journal` lets an interrupted run go on.
"""

import os

# Otherwise ONNX Runtime, since 1.29, sends telemetry on every session, and keeps an identifier in
# the user's home. It reads this once, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
