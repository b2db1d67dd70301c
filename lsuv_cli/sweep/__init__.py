"""ONNX Runtime sessions, and the sweep that runs in them."""
