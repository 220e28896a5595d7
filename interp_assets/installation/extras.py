"""How to install what this package needs only now and then: its own requirements by name, since it lies on no package index."""

import importlib.metadata


def install_command(extra: str) -> str:
    """The command that installs an extra, such as `pip install "vllm<0.33,>=0.29"`."""
    try:
        wanted = importlib.metadata.requires("interp-assets") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder of sources, where pip knows the extra itself
        return f'pip install ".[{extra}]"'
    parts = [one.partition(";") for one in wanted]
    return "pip install " + " ".join(f'"{name.strip()}"' for name, _, when in parts if f"extra == '{extra}'" in when.replace('"', "'"))
