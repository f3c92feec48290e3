"""Mouse-FaceLift: 3-D Gaussians of a mouse from synchronised cameras, or from one.

The library: what is computed, in plain NumPy and PyTorch. It never imports Ray; the applications in
``pipelines/`` and ``training/`` decide where and how often its functions run.
"""

__version__ = "0.1.0"
