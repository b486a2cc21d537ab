"""Values that no data file lists: fresh names, numbers and gibberish."""

CONSONANTS = "b d f g h j k l m n p r s t v z ch sh br tr".split() + [""]
VOWELS = "aaeeiioouy"
KEYS = "asdfghjklqwertyuiopzxcvbnm"


def name(language, rng):
    """Now and then a real name; else syllables, the language's own where it lists any."""
    given = language.lists.get("given_name")
    if given and rng.random() < 0.15:
        return rng.choice(given)
    syllables = language.lists.get("syllable")
    if syllables and rng.random() < 0.7:
        return "".join(rng.choice(syllables) for _ in range(rng.randint(2, 4)))
    text = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(2, 3)))
    return (text + rng.choice(["", "", "n", "r", "s", "l", "k"])).capitalize()


def number(rng):
    return str(rng.randrange(10 ** rng.randint(1, 4)))


def gibberish(language, rng):
    letters = language.lists.get("syllable") if rng.random() < 0.6 else None
    return "".join(rng.choice(letters or KEYS) for _ in range(rng.randint(3, 9)))
