from interp_assets.domain.prompting.similarity import query


def test_a_description_stands_alone_or_after_the_encoders_instruction() -> None:
    assert query("names of days") == "names of days"
    assert query("names of days", "query:") == "query: names of days"
