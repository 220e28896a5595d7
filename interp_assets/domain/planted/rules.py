"""Planted features: rules over text whose meaning is known, each with an explanation that is true, one too narrow and one too broad.

A rule fires on the tokens that its true claim matches. Its narrowed claim matches a part of these tokens, and its broadened claim matches
further tokens: the missing labels and the extra labels with which arXiv 2506.05774 tests metrics. The scores of the three claims show
whether a scorer can be believed.

    rule = PlantedRule("modals", Claim('the words "will" and "shall"', r"\\b(?:will|shall)\\b"), Claim('the word "will"', r"\\bwill\\b"), …)
    rule.activations((" they", " will", " come"))    # [0, 1.25, 0]
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.planted.claims import Claim, any_of

LEVELS = np.array([1.0, 1.25, 1.5, 1.75, 2.0], dtype=np.float16)
"""How strongly a rule fires. The level depends on the token's place alone, so that no explanation can predict it. Different levels spread a
feature's windows over strata. The weakest level is half of the strongest, so that it counts as active at any threshold up to a half."""

PLANTED_CLAIMS: dict[str, str] = {"planted_true": "truth", "planted_narrowed": "narrowed", "planted_broadened": "broadened"}
"""The explanation methods that give a rule's claims, and the claim that each method gives."""


@dataclass(frozen=True)
class PlantedRule:
    """A feature that fires where `truth` matches, a claim that leaves out a part of the truth, and a claim that says more than the
    truth."""

    name: str
    """Name of the rule, distinct among the dictionary's rules."""
    truth: Claim
    """The claim that is true of the feature: the feature fires where this claim's pattern matches."""
    narrowed: Claim
    """A claim that leaves out a part of the truth."""
    broadened: Claim
    """A claim that says more than the truth."""

    def activations(self, tokens: Sequence[str]) -> np.ndarray:
        """float16 [tokens]: one of LEVELS on the tokens that the true claim matches, 0 elsewhere."""
        place = np.arange(len(tokens))
        return np.where(self.truth.fires_on_tokens(tokens), LEVELS[place * 7 % 11 % len(LEVELS)], np.float16(0))

    def explanation(self, method: str) -> str:
        """The text of the claim that a method of PLANTED_CLAIMS gives."""
        return getattr(self, PLANTED_CLAIMS[method]).text


@dataclass
class ClaimCounts:
    """How many tokens the claims of a rule match.

    `narrowed_beyond`: tokens that the narrowed claim matches and the true claim does not. `true_beyond`: tokens that the true claim matches
    and the broadened claim does not. Both must be 0.
    """

    true: int = 0
    narrowed: int = 0
    broadened: int = 0
    narrowed_beyond: int = 0
    true_beyond: int = 0

    def add(self, rule: PlantedRule, tokens: Sequence[str]) -> None:
        """Count the tokens of one context."""
        true, narrowed, broadened = (claim.fires_on_tokens(tokens) for claim in (rule.truth, rule.narrowed, rule.broadened))
        self.true += int(true.sum())
        self.narrowed += int(narrowed.sum())
        self.broadened += int(broadened.sum())
        self.narrowed_beyond += int((narrowed & ~true).sum())
        self.true_beyond += int((true & ~broadened).sum())

    def fault(self, rule: PlantedRule) -> str | None:
        """Why this rule cannot test a scorer; None where it can, and where the rule fires on no token."""
        if self.true == 0:
            return None
        if self.narrowed_beyond or self.true_beyond:
            wrong, of, where = (
                ("narrowed", rule.narrowed, f"speaks of {self.narrowed_beyond:,} tokens on which the rule does not fire")
                if self.narrowed_beyond
                else ("broadened", rule.broadened, f"leaves out {self.true_beyond:,} of the {self.true:,} tokens on which the rule fires")
            )
            return f"rule {rule.name}: its {wrong} explanation ({of.text!r}, pattern {of.pattern!r}) {where}"
        if self.narrowed == self.true or self.broadened == self.true:
            same = "narrowed" if self.narrowed == self.true else "broadened"
            return f"rule {rule.name}: its {same} explanation speaks of the same {self.true:,} tokens as the true one"
        return None


def readable_tokens(token_ids: Sequence[int], texts: Sequence[str], special: Collection[int]) -> list[str]:
    """The texts of a context's tokens as rules read them: a special token (BOS, the end of a document) is read as a line break.

    A line break is whitespace, which no claim matches: so no rule fires on a special token.
    """
    return ["\n" if token_id in special else text for token_id, text in zip(token_ids, texts, strict=True)]


def _either_case(pattern: str) -> str:
    return f"(?i:{pattern})"


def _after(*words: str) -> str:
    """A pattern that matches the place right after each of the words and a space."""
    return "(?:" + "|".join(rf"(?<=\b{word} )" for word in words) + ")"


def _words(*words: str) -> str:
    return _either_case(any_of(*words))


_WAR = ("war", "wars", "army", "armies", "military", "troops", "soldiers?", "battle", "weapons?", "enemy", "enemies", "navy", "forces")
_RELIGION = ("god", "lord", "heaven", "holy", "prayers?", "church", "priests?", "soul", "blessed", "sin", "worship")
_NEGATION = ("not", "no", "never", "none", "nor", "nothing", "nobody")
_AMOUNTS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "first", "second", "third", "hundred", "thousand",
    "million", "billion", "percent", "years?", "dollars?", "km",
)  # fmt: skip

PLANTED_RULES: tuple[PlantedRule, ...] = (
    PlantedRule(
        "numbers",
        Claim("numbers written in digits", r"\d+"),
        Claim("years from 1500 on, written in digits", r"\b(?:1[5-9]|20)\d\d\b"),
        Claim("numbers, amounts and periods of time, in digits or in words", r"\d+|" + _words(*_AMOUNTS)),
    ),
    PlantedRule(
        "marks",
        Claim("question marks and exclamation marks", r"[?!]"),
        Claim("exclamation marks", r"!"),
        Claim("question marks, exclamation marks, colons and semicolons", r"[?!:;]"),
    ),
    PlantedRule(
        "future",
        Claim('the words "will" and "shall"', _words("will", "shall")),
        Claim('the word "shall"', _words("shall")),
        Claim(
            "auxiliary verbs such as will, shall, can, may, must, should, would and could",
            _words("will", "shall", "can", "cannot", "may", "must", "should", "would", "could", "might"),
        ),
    ),
    PlantedRule(
        "by",
        Claim('the word "by"', _words("by")),
        Claim('the word "by" before the word "the"', _words("by(?= the)")),
        Claim("prepositions such as by, with, from, into, upon and through", _words("by", "with", "from", "into", "upon", "through")),
    ),
    PlantedRule(
        "after-my",
        Claim('the word that follows the word "my"', _either_case(_after("my") + r"\w+")),
        Claim('a short word, of five letters at most, that follows the word "my"', _either_case(_after("my") + r"\w{1,5}\b")),
        Claim(
            "the word that follows my, your, his, her, our, their or thy",
            _either_case(_after("my", "your", "his", "her", "our", "their", "thy") + r"\w+"),
        ),
    ),
    PlantedRule(
        "sentence-start",
        Claim("the first word of a sentence that follows another sentence", r"(?<=[.?!] )[A-Z]\w*"),
        Claim(
            "the words The, We, I, In, And and It where a sentence follows another sentence",
            r"(?<=[.?!] )(?:The|We|I|In|And|It)\b",
        ),
        Claim("words that begin with a capital letter", r"\b[A-Z]\w*"),
    ),
    PlantedRule(
        "capitals",
        Claim("words of two or more letters in capital letters only", r"\b[A-Z]{2,}\b"),
        Claim("words in capital letters only, before a full stop or a colon", r"\b[A-Z]{2,}(?=[.:])"),
        Claim("words with a capital letter in them", r"\b\w*[A-Z]\w*"),
    ),
    PlantedRule(
        "war",
        Claim("words about war, such as war, army, troops, weapons and enemy", _words(*_WAR)),
        Claim('the words "war" and "wars"', _words("wars?")),
        Claim(
            "words about war and about government, such as army, weapons, president, congress, law, king and nation",
            _words(*_WAR, "president", "congress", "governments?", "laws?", "kings?", "nations?", "national", "federal", "states?"),
        ),
    ),
    PlantedRule(
        "religion",
        Claim("words of religion, such as God, Lord, heaven, holy, prayer and soul", _words(*_RELIGION)),
        Claim('the words "God" and "Lord"', _words("god", "lord")),
        Claim(
            "words of religion, of love and death, and of the family, such as God, soul, love, heart, death, father and son",
            _words(*_RELIGION, "love", "hearts?", "death", "life", "father", "mother", "sons?", "brothers?", "children", "man", "men"),
        ),
    ),
    PlantedRule(
        "calls",
        Claim("names of functions and methods that are called in program code, before the parenthesis", r"\b[A-Za-z_]\w*(?=\()"),
        Claim("names of methods that are called on an object in program code, after a dot", r"(?<=\.)[A-Za-z_]\w*(?=\()"),
        Claim(
            "names in program code: functions and methods, attributes after a dot, names with an underscore, and self",
            r"\b[A-Za-z_]\w*(?=\()|(?<=\w\.)[a-z_]\w*|\w*_\w+|\bself\b",
        ),
    ),
    PlantedRule(
        "ing",
        Claim("words that end in -ing", r"\b[A-Za-z]+ing\b"),
        Claim("long words, of nine letters or more, that end in -ing", r"\b[A-Za-z]{6,}ing\b"),
        Claim("words that end in -ing, -ed or -ly", r"\b[A-Za-z]+(?:ing|ed|ly)\b"),
    ),
    PlantedRule(
        "negation",
        Claim("words that negate: not, no, never, none, nor, nothing, nobody", _words(*_NEGATION)),
        Claim('the word "not"', _words("not")),
        Claim(
            "words that negate or contrast: not, no, never, nothing, but, if, though, although, or, yet",
            _words(*_NEGATION, "but", "if", "though", "although", "or", "yet"),
        ),
    ),
    PlantedRule(
        "first-person",
        Claim("the speaker as one person: I, me, my, mine, myself", any_of("I", "[Mm]e", "[Mm]y", "[Mm]ine", "[Mm]yself")),
        Claim('the word "I"', any_of("I")),
        Claim(
            "personal pronouns of any person: I, me, my, you, your, he, his, she, her, we, us, our, they, them, their",
            _words(
                "I",
                "me",
                "my",
                "mine",
                "myself",
                "you",
                "your",
                "he",
                "him",
                "his",
                "she",
                "her",
                "we",
                "us",
                "our",
                "they",
                "them",
                "their",
            ),
        ),
    ),
    PlantedRule(
        "thou",
        Claim("the old words thou, thee, thy and thine", _words("thou", "thee", "thy", "thine")),
        Claim('the words "thy" and "thine"', _words("thy", "thine")),
        Claim(
            "words for whoever is spoken to, old and new: thou, thee, thy, ye, you, your",
            _words("thou", "thee", "thy", "thine", "ye", "you", "your", "yours"),
        ),
    ),
    PlantedRule(
        "underscores",
        Claim("names with an underscore in program code", r"\b\w*_\w*"),
        Claim("names that begin with an underscore in program code", r"\b_\w*"),
        Claim("names with an underscore, and names after a dot, in program code", r"\b\w*_\w*|(?<=\w\.)\w+"),
    ),
    PlantedRule(
        "relative",
        Claim('"who", "which", "whose", "where" and "when" after a comma', r"(?<=, )(?:who|which|whose|where|when)\b"),
        Claim('the word "which" after a comma', r"(?<=, )which\b"),
        Claim(
            "who, which, whose, whom, where, when, what and that, anywhere",
            _words("who", "which", "whose", "whom", "where", "when", "what", "that"),
        ),
    ),
)
"""Sixteen rules, one for each feature range, that fire in English prose, verse and program code, as in the packaged texts."""


def given_claims(rules: Sequence[PlantedRule], method: str) -> Mapping[int, str]:
    """The explanation of every rule by a method of PLANTED_CLAIMS, by feature; the feature is the place of the rule in `rules`."""
    return {feature: rule.explanation(method) for feature, rule in enumerate(rules)}
