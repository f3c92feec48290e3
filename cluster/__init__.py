"""Where the applications run: one small profile -> files for `ray up`, KubeRay and Slurm, and the container image.

A profile (`profile.py`) says which machines there are, where results go and which image they run. `render.py` turns
it into files and holds each of them against the schema of whoever will read it. Nothing here computes anything about
mice; the library never imports it.
"""
