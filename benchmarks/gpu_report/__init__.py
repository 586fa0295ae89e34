"""Everything that needs a GPU, in one go: ``python -m benchmarks.gpu_report`` (see ``__main__.py``)."""
