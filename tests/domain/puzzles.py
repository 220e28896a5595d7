"""Puzzles: small features whose truth is known, with explanations that are true and false of them. What a scorer must get right.

Each claim says in words what a feature reacts to and, as a regular expression, on which characters; the true claim's expression is what the
feature does. A scorer that works puts the true claim above the false ones, if its judge can read.
"""

from dataclasses import dataclass
from typing import Literal

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.planted.claims import Claim, any_of, tokens_of

Kind = Literal[
    "token",
    "token set",
    "n-gram",
    "position",
    "topic",
    "syntax",
    "casing",
    "numbers",
    "code",
    "negation",
    "polysemous",
    "morphology",
    "punctuation",
]


@dataclass(frozen=True)
class Puzzle:
    """A feature that does what `true` says, texts on some of which it fires, and claims that are false of it."""

    name: str
    kind: Kind
    true: Claim
    false: tuple[Claim, ...]
    texts: tuple[str, ...]

    def examples(self, feature: int, token_texts: dict[int, str]) -> tuple[Example, ...]:
        """The texts as held-out examples of `feature`: activation 1 to 3 where it fires; token ids are numbered into `token_texts`."""
        ids = {text: number for number, text in token_texts.items()}
        found = []
        for row, text in enumerate(self.texts):
            tokens = tokens_of(text)
            fires = self.true.fires_on(text)
            for token in tokens:
                if token not in ids:
                    ids[token] = len(ids)
                    token_texts[ids[token]] = token
            activations = tuple(float(on) * (1 + (row + i) % 3) for i, on in enumerate(fires))
            active = any(fires)
            stratum = row % 3 if active else None
            found.append(
                Example(
                    f"{feature}/{row}/0", feature, "held_out", "activating" if active else "non_activating",
                    "quantiles" if active else "random", stratum, row, 0, tuple(ids[token] for token in tokens), activations,
                )
            )  # fmt: skip
        return tuple(found)


PUZZLES: tuple[Puzzle, ...] = (
    Puzzle(
        "days",
        "token set",
        Claim("names of days of the week", any_of(r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day")),
        (
            Claim("names of months", any_of("March", "April", "June", "October")),
            Claim("words about shops and trade", any_of("shop", "market", "sold")),
        ),
        (
            "the shop is shut on Monday",
            "they sold it last Thursday in June",
            "every Sunday the bells ring",
            "Friday came and nobody spoke",
            "he left on a Tuesday",
            "the market opens in April",
            "a cold October night",
            "prices rose in March",
            "the old house was empty",
            "we sold the boat",
        ),
    ),
    Puzzle(
        "because",
        "token",
        Claim('the word "because"', r"\bbecause\b"),
        (
            Claim("words that contrast two things", any_of("but", "although", "yet")),
            Claim("words for weather", any_of("rain", "snow", "wind")),
        ),
        (
            "we stayed because of the rain",
            "she laughed because he fell",
            "it failed because nobody read it",
            "because it was late, they slept",
            "he came although it was late",
            "the wind was strong but warm",
            "snow fell on the hills",
            "they slept, yet nobody dreamt",
            "a long letter from home",
            "the rain stopped",
        ),
    ),
    Puzzle(
        "york",
        "n-gram",
        Claim('the word "York" after "New"', r"(?<=New )York"),
        (Claim("names of cities", any_of("York", "Paris", "London", "Boston")), Claim('the word "New" before any name', r"\bNew\b")),
        (
            "a flight to New York in May",
            "New York was dark that night",
            "she wrote from New York again",
            "the mayor of New York spoke",
            "the walls of York are old",
            "New Orleans was under water",
            "Boston and Paris are far apart",
            "a train to London",
            "the New Forest has ponies",
            "he sold bread in the street",
        ),
    ),
    Puzzle(
        "first-word",
        "position",
        Claim("the first word of the text", r"^\w+"),
        (Claim("words that begin with a capital letter", r"\b[A-Z]\w*"), Claim("the last word of the text", r"\w+$")),
        (
            "rivers run to the sea",
            "nobody saw Anna leave",
            "every night it rained",
            "Peter sold his boat",
            "old maps of Spain are rare",
            "letters came from Rome",
            ", he said, and left",
            "(a note in the margin)",
            ". . . then silence",
            "- two eggs and some milk",
        ),
    ),
    Puzzle(
        "last-word",
        "position",
        Claim("the last word before the full stop at the end", r"\w+(?=\.$)"),
        (Claim("full stops", r"\."), Claim("the first word of the text", r"^\w+")),
        (
            "They went home.",
            "It cost ten pounds.",
            "Nobody answered.",
            "The door was locked.",
            "We had bread and cheese.",
            "is this the way",
            "the road to the south",
            "rain, wind and snow",
            "Mr. Hall was not there",
            "e.g. a hammer or a saw",
        ),
    ),
    Puzzle(
        "sailing",
        "topic",
        Claim("ships and sailing", any_of("ship", "sail", "sails", "deck", "harbour", "crew", "anchor", "captain")),
        (
            Claim("farms and animals", any_of("cow", "sheep", "barn", "field", "farmer")),
            Claim("the sea and its fish", any_of("sea", "fish", "waves")),
        ),
        (
            "the captain called the crew",
            "they dropped anchor at dawn",
            "wind filled the sails",
            "the ship left the harbour",
            "two men asleep on deck",
            "the farmer sold a cow",
            "sheep stood in the field",
            "waves broke on the rocks",
            "a fish swam in the sea",
            "the barn burnt down",
        ),
    ),
    Puzzle(
        "court",
        "topic",
        Claim("courts of law and trials", any_of("judge", "jury", "verdict", "witness", "lawyer", "guilty", "trial")),
        (
            Claim("police and crime", any_of("police", "thief", "stolen", "murder")),
            Claim("people arguing", any_of("argued", "shouted", "quarrel")),
        ),
        (
            "the judge read the verdict",
            "a witness began to cry",
            "the jury found him guilty",
            "her lawyer asked for time",
            "the trial took a year",
            "police caught the thief",
            "the car was stolen",
            "they argued all night",
            "a quarrel about money",
            "nobody shouted",
        ),
    ),
    Puzzle(
        "passive",
        "syntax",
        Claim('past participles followed by "by", in passive phrases', r"\w+(?:ed|en|ten|ght)(?= by\b)"),
        (Claim('the word "by"', r"\bby\b"), Claim("verbs in the past tense", r"\b(?:walked|ended|stayed|\w+ed)\b")),
        (
            "a bridge designed by students",
            "letters written by her uncle",
            "the pump was replaced by another",
            "the hill was taken by force",
            "it was bought by a bank",
            "we sat by the river",
            "they slept by the fire",
            "it was over by noon",
            "a house by the sea",
            "he walked and walked",
        ),
    ),
    Puzzle(
        "relative",
        "syntax",
        Claim('relative pronouns ("who", "which", "whose") after a comma', r"(?<=, )(?:who|which|whose)\b"),
        (Claim("question words", any_of("who", "which", "whose", "what", "where")), Claim("commas", r",")),
        (
            "my brother, who lives in Rome, called",
            "the car, which was red, stopped",
            "a man, whose name I forget, sang",
            "the river, which floods, is wide",
            "who took the bread",
            "which of these is yours",
            "tea, milk and sugar",
            "what, if anything, was said",
            "whose coat is this",
            "where were you",
        ),
    ),
    Puzzle(
        "shouting",
        "casing",
        Claim("words in capital letters only", r"\b[A-Z]{3,}\b"),
        (Claim("words that begin with a capital letter", r"\b[A-Z][a-z]*"), Claim("exclamation marks", r"!")),
        (
            "please STOP talking",
            "the sign said CLOSED",
            "DANGER of death",
            "she wrote NEVER twice",
            "use the RED one",
            "Anna and Peter left",
            "London was cold!",
            "oh no! not again!",
            "the end of the road",
            "Mr Hall was late",
        ),
    ),
    Puzzle(
        "titles",
        "casing",
        Claim("words that begin with a capital letter inside a sentence", r"(?<=[a-z] )[A-Z][a-z]+"),
        (Claim("words in capital letters only", r"\b[A-Z]{2,}\b"), Claim("names of countries", any_of("Spain", "France", "Japan"))),
        (
            "we met Anna there",
            "a letter from Spain came",
            "the train to Boston left",
            "my uncle Peter sang",
            "nobody in Rome knew",
            "the USA and the UN",
            "Rivers run to the sea",
            "it was all in vain",
            "STOP here",
            "Nothing was said",
        ),
    ),
    Puzzle(
        "years",
        "numbers",
        Claim("years, written with four digits", r"\b(?:1[0-9]|20)\d\d\b"),
        (
            Claim("any numbers written in digits", r"\b\d+\b"),
            Claim("words for periods of time", any_of("year", "month", "week", "century")),
        ),
        (
            "he was born in 1912",
            "the war of 1870 began",
            "since 2003 nobody came",
            "built in 1666 and again in 1790",
            "there were 12 eggs",
            "it took 3 weeks",
            "a year and a month",
            "room 407 is free",
            "the century ended",
            "they lost by 5 points",
        ),
    ),
    Puzzle(
        "money",
        "numbers",
        Claim("amounts of money with a currency sign", r"[$£€]\s?\d+"),
        (Claim("any numbers written in digits", r"\d+"), Claim("words about being rich or poor", any_of("rich", "poor", "wealth"))),
        (
            "it cost $40 then",
            "they paid £12 each",
            "a bill of €900",
            "only $5 was left",
            "he owed her £300",
            "chapter 12 is short",
            "the poor man slept",
            "wealth is not health",
            "there were 40 of us",
            "room 300",
        ),
    ),
    Puzzle(
        "number-words",
        "numbers",
        Claim("numbers written as words", any_of("one", "two", "three", "seven", "ten", "twelve", "forty")),
        (Claim("any numbers written in digits", r"\d+"), Claim("words for many or few", any_of("many", "few", "several"))),
        (
            "three men in a boat",
            "it took ten days",
            "forty years later",
            "he had two sons",
            "seven is enough",
            "page 12 is torn",
            "many were called",
            "a few came back",
            "several roads lead there",
            "in 1870 it closed",
        ),
    ),
    Puzzle(
        "calls",
        "code",
        Claim("opening parentheses of function calls in code", r"(?<=\w)\("),
        (Claim("parentheses of any kind", r"[()]"), Claim("the word that defines a function", r"\bdef\b")),
        (
            "print(total)",
            "x = len(names)",
            "open(path).read()",
            "return max(a, b)",
            "for i in range(10):",
            "the cat (a black one) ran",
            "x = (a + b) * c",
            "def main:",
            "if a and b:",
            "a note (see below)",
        ),
    ),
    Puzzle(
        "assignment",
        "code",
        Claim("the equals sign that assigns a value in code", r"(?<![=!<>])=(?!=)"),
        (Claim("comparison of two values in code", r"==|!=|<=|>="), Claim("names of variables", r"\b[a-z]_[a-z]+\b")),
        (
            "total = 0",
            "name = input()",
            "x = y + 1",
            "path = root",
            "n = len(a_list)",
            "if x == y:",
            "while n != 0:",
            "assert a <= b",
            "print(a_list)",
            "return not b_set",
        ),
    ),
    Puzzle(
        "negation",
        "negation",
        Claim("words that negate", any_of("not", "never", "no", "nobody", "nothing", "none")),
        (
            Claim("words for sad feelings", any_of("sad", "sorry", "unhappy")),
            Claim("words that express certainty", any_of("always", "surely", "certainly")),
        ),
        (
            "he did not come",
            "she never smiled",
            "no bread was left",
            "nobody knew the way",
            "there was nothing to say",
            "he was sad and sorry",
            "they always came",
            "it is certainly true",
            "an unhappy man",
            "surely he knew",
        ),
    ),
    Puzzle(
        "river-bank",
        "polysemous",
        Claim('the word "bank" where it means the side of a river', r"\bbank(?= of the (?:river|stream))|(?<=river )bank|(?<=grassy )bank"),
        (
            Claim('the word "bank" where it means a house of money', r"(?<=the )bank(?= lent| opened| closed)|(?<=savings )bank"),
            Claim("rivers and streams", any_of("river", "stream", "water")),
        ),
        (
            "on the bank of the river",
            "the river bank was steep",
            "they lay on the grassy bank",
            "the far bank of the stream",
            "the bank lent him money",
            "her savings bank failed",
            "the bank closed at noon",
            "a stream of cold water",
            "the river froze",
            "clear water ran there",
        ),
    ),
    Puzzle(
        "bass-fish",
        "polysemous",
        Claim('the word "bass" where it means a fish', r"(?<=caught a )bass|(?<=sea )bass|\bbass(?= swam| fillet)"),
        (
            Claim('the word "bass" in music', r"\bbass(?= guitar| voice| drum| line)"),
            Claim("kinds of fish", any_of("trout", "salmon", "cod")),
        ),
        (
            "he caught a bass at dawn",
            "grilled sea bass and rice",
            "a bass swam by",
            "bass fillet with lemon",
            "she plays bass guitar",
            "his deep bass voice",
            "the bass drum broke",
            "salmon swim upstream",
            "cod and chips",
            "a trout in the net",
        ),
    ),
    Puzzle(
        "progressive",
        "morphology",
        Claim("the ending -ing of verbs in progress", r"\b(?:sing|runn|smok|rain|read)ing\b"),
        (
            Claim("verbs in the past tense", r"\b\w+ed\b"),
            Claim("nouns that end in -ing, such as king or thing", any_of("king", "thing", "spring")),
        ),
        (
            "they were singing again",
            "running is hard",
            "he sat there smoking",
            "it kept raining",
            "she is reading a book",
            "the king is dead",
            "a strange thing",
            "spring came late",
            "they walked home",
            "he smoked and waited",
        ),
    ),
    Puzzle(
        "un-words",
        "morphology",
        Claim('the prefix "un-" that reverses a word', r"\bun(?:happy|known|able|fair|seen|usual)\w*"),
        (
            Claim("words that negate", any_of("not", "no", "never")),
            Claim('words that begin with the letters "un" without meaning the opposite', any_of("under", "until", "uncle", "union")),
        ),
        (
            "an unknown man",
            "it seemed unfair",
            "he was unable to walk",
            "unusual weather",
            "she left unseen",
            "under the table",
            "until the end",
            "my uncle came",
            "a union of states",
            "it was not fair",
        ),
    ),
    Puzzle(
        "quotes",
        "punctuation",
        Claim("words inside quotation marks", r'(?<=")[^"]+(?=")'),
        (Claim("verbs of speaking", any_of("said", "asked", "told", "spoke")), Claim("quotation marks themselves", r'"')),
        (
            'he said "stop" twice',
            'the "expert" was wrong',
            'a "free" lunch',
            'they call it "home"',
            '"now" was his answer',
            "he said that it rained",
            "she asked the way",
            'five " of wood',
            "they spoke of home",
            "it was told to me",
        ),
    ),
    Puzzle(
        "questions",
        "punctuation",
        Claim("question marks", r"\?"),
        (Claim("question words", any_of("who", "what", "why", "where")), Claim("exclamation marks", r"!")),
        (
            "are you there?",
            "is it late?",
            "did he see it? no",
            "you mean her?",
            "shall we?",
            "tell me who came",
            "what a day!",
            "where there is smoke",
            "stop it!",
            "why is a good word",
        ),
    ),
    Puzzle(
        "family",
        "token set",
        Claim("words for family members", any_of("mother", "father", "uncle", "aunt", "sister", "brother", "grandmother")),
        (
            Claim("words for people at work", any_of("baker", "teacher", "doctor", "farmer")),
            Claim("words for women", any_of("mother", "aunt", "sister", "queen", "girl")),
        ),
        (
            "my father sold it",
            "her uncle and aunt came",
            "a brother in Rome",
            "the father of two",
            "his mother sang",
            "the teacher was ill",
            "a girl ran by",
            "the queen spoke",
            "call a doctor",
            "bread from the baker",
        ),
    ),
)
