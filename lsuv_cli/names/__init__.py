"""Parameter names in other frameworks."""
