"""Model files: what they hold, which nodes are layers, and graphs that measure them."""
