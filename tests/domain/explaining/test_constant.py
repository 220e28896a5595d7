from interp_assets.domain.explaining import constant


def test_every_feature_gets_the_same_sentence_from_no_source() -> None:
    made = constant.explain([3, 1], {}, 0)
    assert constant.SOURCES == ()
    assert [(e.feature, e.method, e.outcome, e.text) for e in made] == [(f, "constant", "ok", constant.TEXT) for f in (3, 1)]
    assert made == constant.explain([3, 1], {}, 9)
