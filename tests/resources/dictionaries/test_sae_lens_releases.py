"""Every layout that SAELens's release list names, from files made as the loader reads them, against what SAELens makes of the release."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from release_files import LAYOUTS, WIDTH, WITHOUT_RELEASE, D, Layout, loader_of, stand_in_hub

from interp_assets.measuring.harvest import notes_of
from resources.dictionaries import DictionaryError, load_dictionary, self_check
from resources.dictionaries.sae_lens import _release_and_id

pytest.importorskip("sae_lens")


def test_the_layouts_are_all_that_sae_lens_loads() -> None:
    """A loader that a newer SAELens adds has no layout here yet, and fails this test."""
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory = get_pretrained_saes_directory()
    used = Counter(loader_of(release) for release in directory)
    assert set(used) == {layout.loader for layout in LAYOUTS}
    assert set(NAMED_PRETRAINED_SAE_LOADERS) == set(used) | set(WITHOUT_RELEASE)
    for name, release in directory.items():
        for sae_id in release.saes_map:
            assert _release_and_id(f"{name}/{sae_id}", directory) == (name, sae_id)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.what)
def test_a_release_of_each_layout_equals_sae_lens(tmp_path: Path, layout: Layout, dense: Any) -> None:
    from sae_lens import SAE

    x = torch.randn(3, 9, D) * 3
    with stand_in_hub(tmp_path, layout) as (release, sae_id):
        theirs = SAE.from_pretrained(release, sae_id, device="cpu")
        ours = load_dictionary("sae_lens", f"{release}/{sae_id}", layout.hook, width=WIDTH, d_in=D)
        if layout.hook:
            with pytest.raises(DictionaryError, match=r"which is blocks\.\d+\.mlp\.hook_in: .* Name the record's hook so"):
                load_dictionary("sae_lens", f"{release}/{sae_id}")
    given = x.view(3, 9, 2, D // 2) if theirs.cfg.reshape_activations == "hook_z" else x
    expected = theirs.encode(given).flatten(0, 1)
    found = ours.encode(x if layout.loader == "temporal" else x.flatten(0, 1))
    assert (expected > 0).any()
    torch.testing.assert_close(dense(found, 27, WIDTH), expected, atol=1e-5, rtol=1e-5)
    if layout.remark.startswith("the encoder alone"):
        assert "the self-check has not verified the hook, since it has checked the encoder alone" in notes_of(ours)[0]
        assert self_check(ours, x.flatten(0, 1), torch.randn(27, D)).fvu is None
