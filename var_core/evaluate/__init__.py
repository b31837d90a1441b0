"""Quality, measured: reconstruction, likelihood, samples and edits (`python -m var_core.evaluate --help`)."""
