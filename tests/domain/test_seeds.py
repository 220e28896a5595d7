import numpy as np
import pytest

from interp_assets.domain.seeds import _mixed, generator, generators


def test_equal_keys_give_equal_streams_in_any_order() -> None:
    first = generator(0, 5, "split").integers(0, 1 << 30, 4).tolist()
    generator(0, 6, "split").random(100)
    assert generator(0, 5, "split").integers(0, 1 << 30, 4).tolist() == first


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, 5, "split"), (1, 5, "split"), (0, 6, "split"), (0, 5, "silent"), (0, 55, "split"), (5, 0, "split")]
    assert len({generator(*key).integers(0, 1 << 62) for key in keys}) == len(keys)


def test_the_stream_is_the_same_on_every_machine() -> None:
    assert generator(0, 0, "test").integers(0, 100, 5).tolist() == [93, 25, 9, 11, 7]


def test_generators_of_many_features_give_the_streams_of_each() -> None:
    features = [0, 7, 16_383, 7]
    found = generators(3, features, "split")
    assert [rng.bit_generator.state for rng in found] == [generator(3, feature, "split").bit_generator.state for feature in features]
    assert generators(3, [], "split") == []


@pytest.mark.parametrize("number", [0, 1, 1 << 32, (1 << 96) - 1, (1 << 128) - 1, 0x0123456789ABCDEF << 40])
def test_seeds_are_mixed_as_numpy_mixes_them(number: int) -> None:
    entropy = np.frombuffer(number.to_bytes(16, "little"), dtype="<u4").reshape(1, 4)
    assert _mixed(entropy).tolist() == [np.random.SeedSequence(number).generate_state(4, np.uint64).tolist()]
