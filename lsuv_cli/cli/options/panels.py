"""Panels of the help, and the smallest values of whole numbers."""

from __future__ import annotations

from lsuv_cli.core.limits import WHOLE_NUMBERS

DATA_PANEL = "Data"
ALGORITHM_PANEL = "Algorithm"
LAYERS_PANEL = "Layers"
OUTPUT_PANEL = "Output"
MACHINE_PANEL = "Machine"

LEAST = {name: least for name, (least, _) in WHOLE_NUMBERS.items()}
