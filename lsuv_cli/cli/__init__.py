"""The commands: text to frozen options, and what was done to the screen and an exit code."""
