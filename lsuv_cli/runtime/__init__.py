"""ONNX Runtime sessions, and the sweep that runs in them."""

import os

# Otherwise ONNX Runtime, since 1.29, tells its makers of every session, and keeps an identifier in
# the user's home. It reads this once, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
