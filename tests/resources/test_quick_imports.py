"""Quick imports end in the same modules, and leave Python as it was."""

import gc
import importlib.metadata
import subprocess
import sys

import pytest

from resources.quick_imports import OF_THE_SAME_NAME, _Distributions, without_collecting


def test_garbage_is_collected_again_after_the_block_and_inner_blocks_change_nothing() -> None:
    assert gc.isenabled()
    with without_collecting():
        with without_collecting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt), without_collecting():
        raise KeyboardInterrupt
    assert gc.isenabled()


def test_distributions_are_the_installed_ones_and_looked_up_for_other_names_alone() -> None:
    truth, looks = importlib.metadata.packages_distributions(), []
    quick = _Distributions(lambda: looks.append(1) or truth)
    for name in OF_THE_SAME_NAME & truth.keys():
        assert quick.get(name) == list(dict.fromkeys(truth[name]))
    assert not looks
    assert quick.get("PIL") == truth.get("PIL") and quick.get("no such module", []) == []
    assert dict(quick).keys() == truth.keys() and looks == [1]


def test_transformers_knows_the_same_packages_and_python_keeps_its_own_look() -> None:
    program = (
        "import importlib.metadata as m; own = m.packages_distributions; from resources.quick_imports import import_transformers; "
        "import_transformers(); import transformers.utils.import_utils as u; assert m.packages_distributions is own; "
        "assert type(u.PACKAGE_DISTRIBUTION_MAPPING).__name__ == '_Distributions' and '_all' not in vars(u.PACKAGE_DISTRIBUTION_MAPPING); "
        "import torch; assert u.is_torch_available() and u.get_torch_version() == torch.__version__"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
