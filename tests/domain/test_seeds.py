from interp_assets.domain.seeds import generator


def test_equal_keys_give_equal_streams_in_any_order() -> None:
    first = generator(0, 5, "split").integers(0, 1 << 30, 4).tolist()
    generator(0, 6, "split").random(100)
    assert generator(0, 5, "split").integers(0, 1 << 30, 4).tolist() == first


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, 5, "split"), (1, 5, "split"), (0, 6, "split"), (0, 5, "silent"), (0, 55, "split"), (5, 0, "split")]
    assert len({generator(*key).integers(0, 1 << 62) for key in keys}) == len(keys)


def test_the_stream_is_the_same_on_every_machine() -> None:
    assert generator(0, 0, "test").integers(0, 100, 5).tolist() == [93, 25, 9, 11, 7]
