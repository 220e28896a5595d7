"""No types come with pyarrow.compute, whose functions are made when it is imported."""

from typing import Any

def __getattr__(name: str) -> Any: ...
