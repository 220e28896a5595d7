"""delphi caches: the layout byte for byte, what is refused and with which words, and bounded memory."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resources.formats import delphi
from resources.formats.delphi import check_cache, find_hookpoint, open_cache, read_activations, read_tokens, require_features
from resources.formats.delphi_writing import split_bounds, write_cache
from resources.formats.interface import ExchangeError, content_hash

TOKENS = np.arange(12, dtype=np.int64).reshape(3, 4)


def split(folder: Path, name: str, entries: list[tuple[int, int, int, float]], tokens: np.ndarray | None = TOKENS, **types: type) -> Path:
    """Writes one file of (row, position, feature - first, activation) entries."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "locations": np.array([e[:3] for e in entries], dtype=types.get("locations", np.uint16)).reshape(-1, 3),
        "activations": np.array([e[3] for e in entries], dtype=types.get("activations", np.float16)),
    }
    save_file(content if tokens is None else {**content, "tokens": tokens}, folder / name)
    return folder


def small_cache(folder: Path, **types: type) -> Path:
    """Features 0–2 and 3–4 over three rows of four tokens; 1e-5 and a negative value among them."""
    split(folder, "0_2.safetensors", [(0, 1, 0, 1.0), (0, 3, 2, 0.5), (1, 0, 0, 2.0), (1, 2, 1, 0.000001), (2, 0, 2, 1.5)], **types)
    split(folder, "3_4.safetensors", [(0, 0, 1, 3.0), (2, 3, 0, -1.0), (2, 3, 1, 0.25)], **types)
    (folder / "config.json").write_text('{"model_name": "m", "cache_ctx_len": 4}')
    return folder


@pytest.mark.parametrize("types", [{}, {"locations": np.uint32}, {"locations": np.int64, "activations": np.float32}])
def test_reading_by_hand(tmp_path: Path, types: dict[str, type]) -> None:
    cache = open_cache(small_cache(tmp_path / "layers.9", **types))
    assert (cache.width, cache.tokens_shape, cache.config["model_name"]) == (5, (3, 4), "m")
    found = check_cache(cache)
    assert (found.rows, found.context_tokens, found.activations, found.features_alive, found.n_small, found.n_negative) == (
        3,
        4,
        6,
        3,
        1,
        1,
    )
    assert found.firing_counts.tolist() == [2, 0, 2, 0, 2]
    assert np.array_equal(read_tokens(cache), TOKENS)
    columns = read_activations(cache, np.arange(5), 3, 4)
    # by feature, then row, then position; 0.000001 and -1.0 are absent
    assert [tuple(column[i].item() for column in columns) for i in range(6)] == [
        (0, 0, 1, 1.0), (0, 1, 0, 2.0), (2, 0, 3, 0.5), (2, 2, 0, 1.5), (4, 0, 0, 3.0), (4, 2, 3, 0.25),
    ]  # fmt: skip
    assert read_activations(cache, np.array([2, 4]), 3, 4)[0].tolist() == [2, 2, 4, 4]
    assert [len(column) for column in read_activations(cache, np.array([1, 3]), 3, 4)] == [0, 0, 0, 0]


def test_pieces_do_not_change_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(small_cache(tmp_path / "layers.9"))
    whole = check_cache(cache), [c.tolist() for c in read_activations(cache, np.arange(5), 3, 4)]
    monkeypatch.setattr(delphi, "PIECE_ENTRIES", 2)
    monkeypatch.setattr(delphi, "PIECE_ROWS", 2)
    assert (check_cache(cache), [c.tolist() for c in read_activations(cache, np.arange(5), 3, 4)]) == whole


def test_a_million_entries_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    n, rows, context = 1_000_000, 4_000, 64
    position = np.sort(rng.choice(rows * context, size=n // 8, replace=False)).repeat(8)
    locations = np.stack([position // context, position % context, np.tile(np.arange(8), n // 8) * 100 + 7], axis=1).astype(np.uint16)
    content = {"locations": locations, "activations": np.ones(n, np.float16), "tokens": np.zeros((rows, context), np.int64)}
    save_file(content, tmp_path / "0_999.safetensors")
    monkeypatch.setattr(delphi, "PIECE_ENTRIES", 1 << 14)
    monkeypatch.setattr(delphi, "PIECE_ROWS", 256)
    cache = open_cache(tmp_path)
    tracemalloc.start()
    try:
        assert check_cache(cache).activations == n
        feature, row, position_, _ = read_activations(cache, np.array([7, 8]), rows, context)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000  # the locations alone are 24 MB as int64
    finally:
        tracemalloc.stop()
    assert len(feature) == n // 8 and (feature == 7).all()
    assert np.array_equal(row.astype(np.int64) * context + position_, position[::8])


ENTRIES = [(0, 1, 0, 1.0), (2, 3, 2, 0.5)]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([*ENTRIES, (3, 0, 0, 1.0)], r"0_2\.safetensors: entry 2 has row 3; allowed are 0 to 2"),
        ([(0, 4, 0, 1.0)], r"entry 0 has position 4; allowed are 0 to 3"),
        ([*ENTRIES, (0, 0, 3, 1.0)], r"entry 2 has feature \(less the file's first\) 3; allowed are 0 to 2"),
        ([*ENTRIES, (2, 0, 0, np.inf)], r"entry 2 has activation inf"),
        ([*ENTRIES, (2, 0, 0, np.nan)], r"entry 2 has activation nan"),
        ([(1, 1, 2, 1.0), (1, 0, 1, 1.0), (0, 1, 2, 1.0)], r"entry 2 has row 0 for feature 2 after row 1; the rows of a feature may not"),
        ([(1, 1, 2, 1.0), (1, 0, 1, 1.0), (1, 1, 2, 0.5)], r"feature 2 has two activations at row 1, position 1"),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_a_bad_entry_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[tuple[int, int, int, float]], said: str, piece: int
) -> None:
    cache = open_cache(split(tmp_path / "h", "0_2.safetensors", entries))
    monkeypatch.setattr(delphi, "PIECE_ENTRIES", piece)
    with pytest.raises(ExchangeError, match=said):
        check_cache(cache)
        read_activations(cache, np.arange(3), 3, 4)  # an entry that stands twice in two pieces is seen here


def test_positions_of_a_row_may_stand_in_any_order(tmp_path: Path) -> None:
    cache = open_cache(split(tmp_path / "h", "0_2.safetensors", [(1, 3, 0, 1.0), (1, 0, 0, 2.0)]))
    assert check_cache(cache).activations == 2
    assert read_activations(cache, np.arange(3), 3, 4)[2].tolist() == [0, 3]


def test_bad_files_are_named(tmp_path: Path) -> None:
    def refuses(folder: Path, said: str) -> None:
        with pytest.raises(ExchangeError, match=said):
            check_cache(open_cache(folder))

    refuses(split(tmp_path / "a", "layers.9.safetensors", ENTRIES), r"layers\.9\.safetensors is not named <first feature>_<last feature>")
    refuses(split(tmp_path / "b", "5_2.safetensors", ENTRIES), r"5_2\.safetensors is not named")
    split(tmp_path / "c", "0_2.safetensors", ENTRIES)
    refuses(split(tmp_path / "c", "2_4.safetensors", ENTRIES), r"2_4\.safetensors begins at feature 2, but 0_2\.safetensors ends at 2")
    split(tmp_path / "d", "0_2.safetensors", ENTRIES)
    refuses(split(tmp_path / "d", "3_5.safetensors", ENTRIES, TOKENS + 1), r"3_5\.safetensors: token 1 at row 0, position 0 .* differs")
    refuses(split(tmp_path / "e", "0_2.safetensors", ENTRIES, TOKENS - 1), r"token -1 at row 0, position 0 is negative")
    split(tmp_path / "f", "0_2.safetensors", ENTRIES)
    refuses(split(tmp_path / "f", "3_5.safetensors", ENTRIES, TOKENS[:2]), r"tokens differ in shape")
    (split(tmp_path / "g", "0_2.safetensors", ENTRIES) / "config.json").write_text("{")
    refuses(tmp_path / "g", r"config\.json is not JSON")
    whole = split(tmp_path / "h", "0_2.safetensors", ENTRIES) / "0_2.safetensors"
    whole.write_bytes(whole.read_bytes()[:-10])
    refuses(tmp_path / "h", r"0_2\.safetensors is not a whole safetensors file")
    save_file({"locations": np.zeros((2, 2), np.uint16), "activations": np.ones(2, np.float16)}, _new(tmp_path / "i") / "0_2.safetensors")
    refuses(tmp_path / "i", r"locations \[2, 2\] and activations \[2\]; allowed are \[N, 3\] and \[N\]")
    save_file({"activations": np.ones(2, np.float16)}, _new(tmp_path / "j") / "0_2.safetensors")
    refuses(tmp_path / "j", r"has no locations; it has \['activations'\]")
    refuses(split(tmp_path / "k", "0_2.safetensors", ENTRIES, locations=np.float32), r"locations of type F32")
    refuses(_new(tmp_path / "l"), r"has no \.safetensors files")


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_feature_in_no_file_is_named(tmp_path: Path) -> None:
    split(tmp_path, "0_2.safetensors", ENTRIES)
    cache = open_cache(split(tmp_path, "6_7.safetensors", []))
    require_features(cache, np.array([0, 2, 6]))
    with pytest.raises(ExchangeError, match=r"no file with feature 3 \(3 of 8 features are in no file.*--features"):
        require_features(cache, np.arange(8))


def test_the_hook_point_is_found_from_the_run_its_latents_or_itself(tmp_path: Path) -> None:
    split(tmp_path / "run" / "latents" / "layers.1", "0_2.safetensors", ENTRIES)
    here = tmp_path / "run" / "latents" / "layers.1"
    for folder in (tmp_path / "run", tmp_path / "run" / "latents", here):
        assert find_hookpoint(folder, None) == find_hookpoint(folder, "layers.1") == here
    split(tmp_path / "run" / "latents" / "layers.10", "0_2.safetensors", ENTRIES)
    assert find_hookpoint(tmp_path / "run", "layers.1") == here  # and not layers.10, which begins alike
    for folder, hookpoint, said in (
        (tmp_path / "run", None, r"it has layers\.1, layers\.10"),
        (tmp_path / "run", "layers.2", r"hook point layers\.2; it has layers\.1, layers\.10"),
        (here, "layers.2", "layers.2"),
        (tmp_path / "nowhere", None, "there is no folder"),
    ):
        with pytest.raises(ExchangeError, match=said):
            find_hookpoint(folder, hookpoint)


def test_what_is_written_is_delphis_layout_and_comes_back(tmp_path: Path) -> None:
    feature = np.array([0, 0, 2, 2, 4, 4], dtype=np.uint32)
    position = np.array([1, 4, 3, 8, 0, 11], dtype=np.uint32)
    value = np.array([1.0, 2.0, 0.5, 1.5, 3.0, 1e-6], dtype=np.float16)

    def activations_of(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inside = (feature >= first) & (feature <= last)
        return feature[inside], position[inside], value[inside]

    written = write_cache(tmp_path / "layers.9", TOKENS, split_bounds(5, 2), activations_of, {"n_splits": 2})
    assert (written.files, written.activations, written.n_small) == (("0_1.safetensors", "2_4.safetensors"), 5, 1)
    second = load_file(tmp_path / "layers.9" / "2_4.safetensors")
    # in delphi's order: by row, position, feature
    assert second["locations"].tolist() == [[0, 0, 2], [0, 3, 0], [2, 0, 0]] and second["locations"].dtype == np.uint16
    assert second["activations"].tolist() == [3.0, 0.5, 1.5] and second["activations"].dtype == np.float16
    assert second["tokens"].dtype == np.int64 and np.array_equal(second["tokens"], TOKENS)
    assert json.loads((tmp_path / "layers.9" / "config.json").read_text()) == {"n_splits": 2}
    cache = open_cache(tmp_path / "layers.9")
    assert check_cache(cache).activations == 5
    back = read_activations(cache, np.arange(5), 3, 4)
    assert (
        np.array_equal(back[0], feature[:5]) and np.array_equal(back[1] * 4 + back[2], position[:5]) and np.array_equal(back[3], value[:5])
    )
    with pytest.raises(ExchangeError, match="exists already"):
        write_cache(tmp_path / "layers.9", TOKENS, split_bounds(5, 2), activations_of, {})


def test_rows_beyond_sixteen_bits_are_written_wider(tmp_path: Path) -> None:
    tokens = np.zeros((70_000, 2), dtype=np.int64)
    last = np.array([139_999], dtype=np.uint32)
    write_cache(tmp_path / "h", tokens, split_bounds(1, 1), lambda a, b: (np.zeros(1, np.uint32), last, np.ones(1, np.float16)), {})
    assert load_file(tmp_path / "h" / "0_0.safetensors")["locations"].dtype == np.uint32
    assert [column.item() for column in read_activations(open_cache(tmp_path / "h"), np.arange(1), 70_000, 2)] == [0, 69_999, 1, 1.0]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def breaks(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if first:
            raise RuntimeError("the disk is full")
        return np.zeros(1, np.uint32), np.zeros(1, np.uint32), np.ones(1, np.float16)

    with pytest.raises(RuntimeError):
        write_cache(tmp_path / "out" / "h", TOKENS, split_bounds(5, 2), breaks, {})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("width", "n"), [(5, 0), (5, 6)])
def test_a_number_of_files_that_cannot_be_is_refused(width: int, n: int) -> None:
    with pytest.raises(ExchangeError, match="allowed are 1 to 5"):
        split_bounds(width, n)


@pytest.mark.parametrize(("width", "n"), [(5, 5), (7, 3), (16_384, 5), (131_072, 7)])
def test_files_cover_every_feature_once(width: int, n: int) -> None:
    bounds = split_bounds(width, n)
    assert bounds[0][0] == 0 and bounds[-1][1] == width - 1 and len(bounds) == n
    assert all(after[0] == before[1] + 1 for before, after in pairwise(bounds))


def test_the_content_address_follows_names_and_bytes(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    before = content_hash(tmp_path, [a, b])
    assert before == content_hash(tmp_path, [b, a]) and len(before) == 16
    b.write_bytes(b"3")
    assert content_hash(tmp_path, [a, b]) != before


def test_a_cache_that_delphi_itself_wrote() -> None:
    """`golden/delphi_cache` is what eai-delphi 0.1.3's LatentCache.save_splits made of the dense activations beside it."""
    golden = Path(__file__).parents[1] / "golden" / "delphi_cache"
    dense = np.load(golden / "dense.npz")
    cache = open_cache(golden / "layers.9")
    assert (cache.width, cache.tokens_shape, [s.path.name for s in cache.splits]) == (
        30, (6, 16), ["0_9.safetensors", "10_19.safetensors", "20_29.safetensors"],
    )  # fmt: skip
    feature, row, position = np.nonzero(dense["activations"].transpose(2, 0, 1))  # by feature, row, position
    value = dense["activations"][row, position, feature].astype(np.float16)
    assert check_cache(cache).activations == len(feature) > 200
    assert np.array_equal(read_tokens(cache), dense["tokens"])
    for read, expected in zip(read_activations(cache, np.arange(30), 6, 16), (feature, row, position, value), strict=True):
        assert np.array_equal(read, expected)


def test_writing_the_same_activations_gives_delphis_own_bytes(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "delphi_cache" / "layers.9"
    cache = open_cache(golden)

    def activations_of(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        feature, row, position, value = read_activations(cache, np.arange(first, last + 1), 6, 16)
        return feature, row * 16 + position, value.astype(np.float16)

    write_cache(tmp_path / "layers.9", read_tokens(cache), split_bounds(30, 3), activations_of, cache.config)
    for path in golden.iterdir():
        assert (tmp_path / "layers.9" / path.name).read_bytes() == path.read_bytes(), path.name
