"""Batch router for GPU compute: see `aurora_batch.router` for the story in one page."""
