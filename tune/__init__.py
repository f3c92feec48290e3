"""Ray Tune applications: searches over settings whose answer can be believed."""
