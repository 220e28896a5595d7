"""Imports of large packages without work that nothing here needs."""

import contextlib
import gc
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

OF_THE_SAME_NAME = frozenset({"accelerate", "huggingface_hub", "numpy", "torch", "triton"})
"""Modules that come from the distribution of their name."""


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """A block of imports in which Python does not collect garbage.

    Imports leave hardly any garbage, and each collection looks at the objects of all modules: a fifth of the time to import torch and
    transformers. The objects of the block are not looked at later either.
    """
    if not gc.isenabled():  # an outer block has done it
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_transformers() -> None:
    """Import transformers without its look at the lists of files of all installed packages.

    transformers asks there which distribution a module belongs to, at its import for modules of OF_THE_SAME_NAME alone.
    """
    if "transformers" in sys.modules:
        return
    looked_up = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = lambda: _Distributions(looked_up)
    try:
        with without_collecting():
            import transformers
            import transformers.utils.import_utils  # noqa: F401
    finally:
        importlib.metadata.packages_distributions = looked_up


class _Distributions(Mapping[str, list[str]]):
    """The distributions of each module, as `importlib.metadata.packages_distributions` gives them, looked up when another module than these
    of OF_THE_SAME_NAME is asked for."""

    def __init__(self, looked_up: Callable[[], Mapping[str, list[str]]]) -> None:
        self._looked_up = looked_up

    @cached_property
    def _all(self) -> Mapping[str, list[str]]:
        return self._looked_up()

    def __getitem__(self, name: str) -> list[str]:
        return [name] if name in OF_THE_SAME_NAME and _is_installed(name) else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
