"""A plain forward pass, as small a process as ONNX Runtime allows: for `peak_memory.py`.

python benchmarks/plain_forward.py MODEL.onnx BATCH.npy
"""

import sys

import numpy as np
import onnxruntime as ort

session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})
