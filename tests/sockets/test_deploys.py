"""What `make soak` does for as long as one likes, for a few seconds."""
import asyncio
import signal

import pytest

from tests.sockets.soak import Soak


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_all_protocols_at_once_are_replaced_under_traffic(house, number):
    with Soak(house, "local") as soak:
        asyncio.run(soak.holds(4, number))
