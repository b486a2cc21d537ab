"""Learns and reads a vocabulary in the file format of the RWKV World tokenizer.

Ids 1..256 are the single bytes, so that encoding never fails; then come the characters of the
corpus and the substrings that occur in at least three different lines of it, sorted by byte
length. Id 0 is reserved (end of text) and never encoded. Encoding is greedy longest match.
No substring crosses a word: phrases learnt whole would not help with unseen questions.
"""

import ast
import re
import unicodedata
from collections import Counter
from pathlib import Path

from failures import Failure, Misuse

WORD = re.compile(
    r" ?[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+"
    r"| ?[Ѐ-ӿ]+| ?[؀-ۿ]+"  # Cyrillic, Arabic
    r"| ?[ऀ-ॿ]+| ?[஀-௿]+| ?[ఀ-౿]+"  # Devanagari, Tamil, Telugu
    r"|[ก-๎]+|[က-႟]+"  # Thai, Burmese: runs without spaces
    r"|[ぁ-ゟ]+|[゠-ヿ]+|[一-鿿々]+"
)
SUPPORT_MIN = 3
SUBSTRING_CHARACTERS_MAX = 12
# The frame of every turn; a reader of the file may rely on them being there.
FRAME = ["\n\n", "User:", "Assistant:"]
# A number is copied in few steps, and seldom with one token in it twice.
PAIRS = [b"%02d" % pair for pair in range(100)]
PUNCTUATION = "„“”’–…「」、。！？・ー〜×÷："
WESTERN = "äöüÄÖÜßéèêàâçñíóúáôîœøåæ"
KANA = "".join(map(chr, range(0x3041, 0x30FD)))


def block(first, last):
    """The characters that Unicode has assigned between two code points."""
    return "".join(
        chr(c) for c in range(first, last + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cf")
    )


def both_cases(letters):
    return letters + letters.upper()


# What a speaker may type although no dialogue holds it; ideographs come from the dialogues alone.
SCRIPTS = {
    "ar": block(0x0621, 0x0652) + block(0x0660, 0x0669) + "،؛؟",
    "es": "¿¡",
    "et": both_cases("õšž"),
    "hi": block(0x0900, 0x097F),
    "it": both_cases("ìòù"),
    "my": block(0x1000, 0x104F),
    "pt": both_cases("ãõ"),
    "ru": block(0x0410, 0x044F) + "ёЁ«»",
    "ta": block(0x0B80, 0x0BFF),
    "te": block(0x0C00, 0x0C7F),
    "th": block(0x0E01, 0x0E5B),
    "tr": "ğĞışŞİ",
    "vi": both_cases("ăđĩũơưãõýìòù" + "".join(chr(c) for c in range(0x1EA1, 0x1EFA, 2))),
    "zh": "，；（）《》",
}


def learn(lines, size, languages):
    """Entries (bytes) in id order from 1, for at most `size` ids including the reserved 0."""
    alphabet = PUNCTUATION + WESTERN + KANA + "".join(SCRIPTS.get(code, "") for code in languages)
    support = Counter()
    for line in lines:
        support.update(substrings(line))
    entries = {text.encode() for text in FRAME} | set(PAIRS)
    entries |= {character.encode() for character in alphabet if ord(character) > 127}
    entries |= {c.encode() for line in lines for c in line if ord(c) > 127}
    if len(entries) > size - 257:
        raise Misuse(
            f"vocabularySize {size} is too small: {len(entries) + 257} ids hold the alphabets"
        )
    frequent = {text: count for text, count in support.items() if count >= SUPPORT_MIN}
    by_gain = sorted(complete(frequent), key=lambda text: (-frequent[text] * (len(text) - 1), text))
    for text in by_gain:
        if len(entries) >= size - 257:
            break
        entries.add(text.encode())
    single = [bytes([byte]) for byte in range(256)]
    return single + sorted(entries, key=lambda entry: (len(entry), entry))


def substrings(line):
    """Distinct substrings of the line's words; each word also as it looks inside a sentence."""
    found = set()
    for spelling in (" " + line, " " + line[:1].upper() + line[1:]):
        for word in WORD.findall(spelling):
            for start in range(len(word)):
                for end in range(start + 2, min(len(word), start + SUBSTRING_CHARACTERS_MAX) + 1):
                    found.add(word[start:end])
    return found


def complete(frequent):
    """Leaves out fragments: strings of which a one character longer one is nearly as frequent."""
    longer = Counter()
    for text, count in frequent.items():
        for part in (text[1:], text[:-1]):
            longer[part] = max(longer[part], count)
    return [text for text, count in frequent.items() if longer[text] < 0.85 * count]


def as_text(entries):
    """The vocabulary file: `id literal length` lines."""
    lines = []
    for identifier, entry in enumerate(entries, 1):
        try:
            literal = repr(entry.decode())
        except UnicodeDecodeError:
            literal = repr(entry)
        lines.append(f"{identifier} {literal} {len(entry)}\n")
    return "".join(lines)


def read(path):
    """The entries of a vocabulary file, in id order from 1."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise Failure(f"vocabulary {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"vocabulary {path} is not UTF-8") from error
    entries = [
        parse(path, identifier, line) for identifier, line in enumerate(filter(None, lines), 1)
    ]
    if {bytes([byte]) for byte in range(256)} - set(entries):
        raise Failure(f"vocabulary {path} lacks some of the 256 single bytes")
    return entries


def parse(path, identifier, line):
    try:
        number, rest = line.split(" ", 1)
        literal, length = rest.rsplit(" ", 1)
        value = ast.literal_eval(literal)
        entry = value.encode() if isinstance(value, str) else value
        if int(number) == identifier and int(length) == len(entry):
            return entry
    except (ValueError, SyntaxError, TypeError):
        pass
    raise Failure(f"vocabulary {path}: id {identifier} is not written as `id literal length`")


class Tokenizer:
    """Text to ids and back."""

    def __init__(self, entries):
        self.entries = entries
        self.ids = {entry: identifier for identifier, entry in enumerate(entries, 1)}
        self.length_max = max(map(len, entries))

    def encode(self, text, rng=None, dropout=0.0):
        """Greedy longest match; with `dropout`, a match is sometimes passed over for a shorter
        one, which teaches the model other spellings of the same words."""
        return self.encode_bytes(text.encode(), rng, dropout)

    def encode_bytes(self, data, rng=None, dropout=0.0):
        ids, position = [], 0
        while position < len(data):
            for length in range(min(self.length_max, len(data) - position), 0, -1):
                identifier = self.ids.get(data[position : position + length])
                if identifier is None:
                    continue
                if length > 1 and dropout and rng.random() < dropout:
                    continue
                break
            ids.append(identifier)
            position += length
        return ids

    def count(self, ids, size):
        """How many of the ids hold the first `size` bytes."""
        held = 0
        for place, identifier in enumerate(ids):
            if held >= size:
                return place
            held += len(self.entries[identifier - 1])
        return len(ids)

    def decode(self, ids):
        data = b"".join(self.entries[identifier - 1] for identifier in ids if identifier > 0)
        return data.decode("utf-8", errors="replace")
