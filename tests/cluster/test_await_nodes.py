"""Waiting for machines, on a real Ray of one."""

from __future__ import annotations

import pytest

from cluster.await_nodes import AwaitConfig, await_nodes
from mouse_facelift.errors import InputError


def test_it_returns_when_all_are_there_and_says_how_many_are_missing(ray_session: None) -> None:
    assert await_nodes(AwaitConfig(nodes=1, timeout_s=5)) == 1
    with pytest.raises(InputError, match="only 1 of 2 machines joined within 0.1 s"):
        await_nodes(AwaitConfig(nodes=2, timeout_s=0.1))
