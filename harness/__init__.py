"""The machine: it reads benchmarks, asks models, keeps answers, marks them and tells. It knows no data set by name."""

__version__ = "0.13.1"
