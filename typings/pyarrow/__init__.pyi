"""No types come with pyarrow."""

from typing import Any

def __getattr__(name: str) -> Any: ...
