"""Pools get the default limit of dagster.yaml, and keep a limit that a user has set."""

from pathlib import Path

from dagster._core.test_utils import instance_for_test

from interp_assets.installation.server import set_pool_limits
from interp_assets.orchestration.partitions import POOLS


def test_a_limit_of_a_user_stays_and_the_others_follow_the_default(tmp_path: Path) -> None:
    def limits(default: int) -> dict[str, int]:
        with instance_for_test({"concurrency": {"pools": {"default_limit": default}}}, temp_dir=str(tmp_path)) as instance:
            set_pool_limits(instance)
            set_pool_limits(instance)
            found = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
            instance.event_log_storage.set_concurrency_slots(POOLS[0], 1)
            return found

    assert limits(4) == dict.fromkeys(POOLS, 4)
    assert limits(7) == {**dict.fromkeys(POOLS, 7), POOLS[0]: 1}
