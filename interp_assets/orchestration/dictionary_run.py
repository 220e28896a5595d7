"""A materialisation of an asset by dictionary: what it reports, and which dictionaries failed."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from interp_assets.config.base import UserError, fingerprint
from interp_assets.orchestration.partition_metadata import DATA_VERSION_TAG
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.reporting.materialisation import rounded


class DictionaryRun:
    """A materialisation of one per-dictionary asset: gathers data versions, metadata and failures, separately for each dictionary."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self.context = context
        self.keys = list(context.partition_keys)
        self.versions: dict[str, str] = {}
        """Data version of each dictionary that was made."""
        self.failures: dict[str, str] = {}
        """The reason of each failure, by dictionary."""
        self._metadata: dict[str, dict[str, Any]] = defaultdict(dict)
        tell_begun(context)

    @contextlib.contextmanager
    def failing_alone(self, *keys: str) -> Iterator[None]:
        """An exception in the block is the failure of these dictionaries, and the rest of the run goes on. Without a rest, it is raised."""
        try:
            yield
        except Exception as error:
            if set(self.keys) == set(keys):
                raise
            self.context.log.exception(f"{', '.join(keys)}: failed; the other dictionaries of the run go on")
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.failures = dict.fromkeys(keys, reason) | self.failures

    @property
    def made(self) -> list[str]:
        """The dictionaries that did not fail, in key order of the run."""
        return [key for key in self.keys if key not in self.failures]

    def report(self, key: str, numbers: Mapping[str, Any]) -> None:
        """More metadata for one dictionary's materialisation."""
        self._metadata[key].update(rounded(numbers))

    def result(self, checks: Sequence[dg.AssetCheckResult] = ()) -> dg.MaterializeResult:
        """The materialisation of all dictionaries of the run.

        Raises `Failure`, naming each failed dictionary, when some failed. The other dictionaries still count as made, so that their next
        stages can begin, unless one of `checks` finds an error among them.
        """
        if not self.failures:
            for key in self.keys:
                self.context.add_asset_metadata(self._metadata[key], partition_key=key)
            distinct = sorted(set(self.versions.values()))
            version = distinct[0] if len(distinct) == 1 else fingerprint(distinct)
            return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=list(checks))
        failed = "; ".join(f"{key} failed: {reason}" for key, reason in self.failures.items())
        told = f"{len(self.failures)} of {len(self.keys)} dictionaries failed"
        not_passed = [check for check in checks if not check.passed]
        for check in not_passed:
            self.context.log.warning(f"check {check.check_name} did not pass: {check.metadata}")
        errors = [str(check.check_name) for check in not_passed if check.severity is dg.AssetCheckSeverity.ERROR]
        if errors:
            raise dg.Failure(f"{told}, the others do not count as made, since {', '.join(errors)} did not pass. {failed}")
        for key in self.made:
            tags = {DATA_VERSION_TAG: self.versions[key]}
            event = dg.AssetMaterialization(self.context.asset_key, partition=key, metadata=self._metadata[key], tags=tags)
            self.context.log_event(event)
        raise dg.Failure(f"{told}, the others are made. {failed}")
