"""Speed, measured against a plain reference mode in the same run (`python -m var_core.benchmark --help`)."""

from .measure import measure, random_model
from .plain import reference, reference_logits

__all__ = ["measure", "random_model", "reference", "reference_logits"]
