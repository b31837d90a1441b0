"""The paper's claims, measured in small: laws of size and compute, peers on the same pictures, zero-shot editing
(`python -m var_core.study --help`). Nothing else imports it."""
