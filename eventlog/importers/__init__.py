"""Records from outside into the log. Whatever is read here was written by somebody else, and is checked."""
