"""Frames in, events out: sources, resampling, the ring."""
