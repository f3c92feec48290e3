"""The browser viewer: results side by side in 3-D, over time, with the cameras and pictures of a dataset."""
