"""A recording on disk: its videos, masks and calibration, and the frames in them."""
