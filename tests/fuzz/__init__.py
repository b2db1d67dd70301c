"""Files and options damaged at random, and what the command makes of them: see `run.py`."""
