"""The commands, one file each: arguments to options, and the result to the screen."""
