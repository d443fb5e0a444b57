"""Measurements against peers, each in one run on the same data, as ratios. Run from the checkout; never timed tests."""
