"""No types come with pyarrow.parquet."""

from typing import Any

def __getattr__(name: str) -> Any: ...
