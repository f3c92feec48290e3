"""Ray Data applications: each names its inputs, outputs, resources and failure policy, and calls the library.

Every module also runs from a plain checkout (`python -m pipelines.preprocess`, as `ray job submit` does): when the
library is not installed, the checkout's `src/` is put on the path.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("mouse_facelift") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
