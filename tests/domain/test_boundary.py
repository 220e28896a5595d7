"""The pure code must stay importable without anything heavy."""

import subprocess
import sys

FORBIDDEN = ("torch", "vllm", "dagster", "duckdb", "transformers", "pyarrow")


def test_importing_every_domain_module_loads_nothing_heavy() -> None:
    program = (
        "import importlib, pkgutil, sys, interp_assets.domain as d\n"
        "for m in pkgutil.walk_packages(d.__path__, d.__name__ + '.'): importlib.import_module(m.name)\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
