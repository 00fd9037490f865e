"""Compositions and the command line: read settings, build parts, run."""
