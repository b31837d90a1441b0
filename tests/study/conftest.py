from __future__ import annotations

import pytest
from study_small import tokens_at

from var_core.study.tokens import Cache


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return tokens_at(tmp_path_factory.mktemp("study"))
