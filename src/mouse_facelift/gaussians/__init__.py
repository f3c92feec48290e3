"""3-D Gaussians: what they are, how they become pixels, how they are filtered and written.

`gaussians` holds the set itself, `rendering.render` turns it into images with one of three back ends that share the
conventions of `conventions`, `ply` reads and writes the usual splat files, `filters` removes floaters. Nothing is
imported here, so that reading a PLY costs no compiler and rendering on a CPU costs no CUDA.
"""
