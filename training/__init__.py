"""Ray Train applications, one per model, and the loop, feeding and launching they share."""

# Importing `pipelines` first makes the library importable from a plain checkout as well.
import pipelines  # noqa: F401
