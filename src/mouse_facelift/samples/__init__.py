"""Samples: from decoded frames to rows that models train on.

A *sample* is one moment seen by all cameras: square RGBA views of the animal, re-aimed at its 3-D centre, each with
the camera that describes exactly those pixels, in a world where the animal sits at the origin. The room holds the
silhouettes and centres that say where the animal is, the normalisation, the gate that measures agreement, the split
rule, the Arrow schema of a row and the manifest of a dataset.
"""
