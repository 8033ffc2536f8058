"""Rules that read an answer off a reply. Each has a name, is a function of reply and options alone, and never guesses.

What a rule does not find is no answer: it counts as wrong and is told. :mod:`medpodium.scoring.kinds.answers.published`
holds the rules of published scorers, defects included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

from medpodium.challenges.rows import Numbers
from medpodium.scoring.kinds.answers import published
from medpodium.scoring.kinds.answers.texts import bare, normalised

Options: TypeAlias = Mapping[str, str]
"""Text of every option by its letter; empty where the key has none."""

_CUE = (
    r"(?:(?:the\s+)?(?:(?:final|correct|right|best|most\s+likely|my)\s+)*(?:answer|option|choice)\s*"
    r"(?:is|are|would\s+be|should\s+be|must\s+be|:|=|-)+"
    r"|answer\b\s*(?=\(?\s*[A-Z]\b)"
    r"|\bI(?:\s+would|'d|\s+will|'ll)?\s+(?:choose|select|pick|go\s+with)"
    r"|(?:最终|正确|最佳)?\s*(?:答案|选项)\s*(?:应该|应|就)?\s*(?:是|为|选|:|=)+"
    r"|(?:故|应|应该|因此|所以|我)\s*(?:选择|选)|^\s*(?:选择|选))"
)
_FILLER = r"\s*(?:clearly|definitely|therefore|most\s+likely|probably)?\s*:?\s*(?:option|choice|letter|选项)?\s*"
_LETTER = r"[(\[{\"'“‘「【]?\s*(?P<letter>[A-Z])(?![A-Za-z0-9])(?:\s*[)\]}\"'”’」】])?"
_CUED = re.compile(rf"(?i:{_CUE}{_FILLER}){_LETTER}", re.MULTILINE)
_ALONE = re.compile(
    rf"(?i:{_CUE}{_FILLER}|(?:option|choice|选项)\s*)?{_LETTER}\s*(?:选项|项)?\s*[.。,;:!]*", re.MULTILINE
)
_LABEL = re.compile(r"\(?\s*(?P<letter>[A-Z])(?![A-Za-z0-9])\s*[)\].:、,;-]\s*(?P<text>.*)", re.DOTALL)
_MORE = re.compile(
    r"\s*(?:,|/|&|\+|、|or\b|and\b|和|或|及|与|以及)\s*(?:option\s*)?[(\[]?\s*[A-Z](?![A-Za-z0-9])", re.IGNORECASE
)
_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|due|which|based|given|for|with|from|according|and|but|not)\b)[a-z]")
_NOT = re.compile(r"\s*(?:is|was|are|would\s+be)?\s*(?:not|incorrect|wrong|false)\b", re.IGNORECASE)
_SPLIT = re.compile(r"\s*(?:,|/|&|\+|;|、|\band\b|和|及|与|以及|\s)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![A-Za-z0-9.])[+\-\u2212]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?")
_NUMBER_CUE = re.compile(r"(?i:(?:answer|result|value)\s*(?:is|:|=|≈)+|答案\s*(?:是|为|:)+|(?:=|≈|约为|等于))\s*")


def letter_strict(reply: str, options: Options) -> str | None:
    """Take a reply that is one option's letter and nothing else.

    Brackets, markdown, LaTeX, "Answer:" or "答案是" in front, and the option's own text behind are allowed.
    """
    return _strict(bare(reply), options)


def letter_last(reply: str, options: Options) -> str | None:
    """Take the last option that the reply declares to be its answer.

    Declared is a letter after words such as "answer is" or "故选", one that is the first or the last line, or one that
    labels the first line with the option's own text. Two letters in one declaration ("A or B") are no answer, and
    neither is an article ("The answer is A mass...").
    """
    text = bare(reply)
    found: list[tuple[int, str | None]] = []
    lines = [line for line in text.split("\n") if line.strip()]
    if lines:
        found.append((0, _labelled(lines[0], options)))
        found.append((len(text), _strict(lines[-1].strip(), options)))
    for match in _CUED.finditer(text):
        rest = text[match.end() :]
        letter = match["letter"]
        if letter in options and not _is_word(match[0], rest, letter, options) and not _NOT.match(rest):
            found.append((match.start() + 1, None if _MORE.match(rest) else letter))
    declared = [(at, letter) for at, letter in found if letter is not None or at not in (0, len(text))]
    return max(declared, key=lambda item: item[0])[1] if declared else None


def option_text(reply: str, options: Options) -> str | None:
    """Take a reply that is the text of exactly one option, without capitals, punctuation and articles.

    A label in front of it (``C. Malignant tumour``) must be that option's, and then more lines may follow.
    """
    text = bare(reply)
    cued = re.sub(rf"(?i:^{_CUE}{_FILLER})", "", text)
    for said in dict.fromkeys((text, cued)):
        same = [letter for letter, own in options.items() if normalised(own) and normalised(own) == normalised(said)]
        if len(same) == 1:
            return same[0]
    first = cued.partition("\n")[0].strip()
    return None if _ALONE.fullmatch(first) else _labelled(first, options, whole_text=True)


def letter_or_text(reply: str, options: Options) -> str | None:
    """Take what :func:`letter_last` finds, and where that finds nothing, what :func:`option_text` does."""
    return letter_last(reply, options) or option_text(reply, options)


def letters(reply: str, options: Options) -> str | None:
    """Take a reply that is a list of options' letters and nothing else: ``A, C``, ``AC``, ``A and C``, ``A、C``.

    Returns the letters in the order of the options, each once.
    """
    text = bare(reply)
    text = re.sub(rf"(?i:^{_CUE}{_FILLER}|^(?:options?|answers?|选项)\s*:?\s*)", "", text)
    parts = [part for part in _SPLIT.split(text.strip(" .。()[]{}\"'")) if part]
    chosen: set[str] = set()
    for part in parts:
        own = part.strip("()[]{}.\"'")
        if not own or not own.isupper() or not set(own) <= set(options) or len(set(own)) < len(own):
            return None
        chosen |= set(own)
    return "".join(letter for letter in options if letter in chosen) or None


def whole(reply: str, _options: Options) -> str | None:
    """Take the whole reply, without thoughts, markdown and LaTeX."""
    return bare(reply) or None


def number_strict(reply: str, _options: Options) -> str | None:
    """Take a reply that is one number and nothing else; a sign of per cent or a unit makes it another thing."""
    return _number(bare(reply).strip().rstrip("."))


def number_last(reply: str, _options: Options) -> str | None:
    """Take the number after the last "answer is", "=" or "答案是", or the only number of the reply."""
    text = bare(reply)
    cues = [match.end() for match in _NUMBER_CUE.finditer(text)]
    for at in reversed(cues):
        found = _NUMBER.match(text, at)
        if found:
            return _number(found[0])
    every = _NUMBER.findall(text)
    return _number(every[0]) if len(every) == 1 else None


def _number(text: str) -> str | None:
    try:
        value = Numbers().parse(text)
    except ValueError:
        return None
    return repr(value) if abs(value) < float("inf") else None


def _strict(text: str, options: Options) -> str | None:
    match = _ALONE.fullmatch(text)
    if match is not None:
        return match["letter"] if match["letter"] in options else None
    cued = re.sub(rf"(?i:^{_CUE}{_FILLER})", "", text)
    return _labelled(cued, options, whole_text=True)


def _labelled(line: str, options: Options, *, whole_text: bool = False) -> str | None:
    """Return the letter in front of a line: alone, or with the option's own text behind it.

    ``E. coli grows`` is no answer E, unless E says so.
    """
    alone = _ALONE.fullmatch(line.strip())
    if alone is not None:
        return alone["letter"] if alone["letter"] in options else None
    match = _LABEL.fullmatch(line.strip())
    if match is None or match["letter"] not in options:
        return None
    own, said = normalised(options[match["letter"]]), normalised(match["text"])
    if not own:
        return None
    fits = said == own if whole_text else (said == own or said.startswith(f"{own} "))
    return match["letter"] if fits else None


def _is_word(match: str, rest: str, letter: str, options: Options) -> bool:
    """Return whether an ``A`` or ``I`` in front of more words is an article or a pronoun, no option."""
    closed = not match.rstrip().endswith(letter)
    if letter not in "AI" or closed or not _ARTICLE.match(rest):
        return False
    own = normalised(options[letter])
    return not own or not normalised(rest).startswith(own)


Rule: TypeAlias = Callable[[str, Options], "str | None"]

RULES: dict[str, Rule] = {
    "letter-strict": letter_strict,
    "letter-last": letter_last,
    "option-text": option_text,
    "letter-or-text": letter_or_text,
    "letters": letters,
    "whole": whole,
    "number-strict": number_strict,
    "number-last": number_last,
    "as-medq-bench": published.medq_bench,
    "as-vlmevalkit": published.vlmevalkit,
}
"""Every rule by its name in challenge files."""


@lru_cache(maxsize=500_000)
def extract(rule: str, reply: str, options: tuple[tuple[str, str], ...]) -> str | None:
    """Return the answer that a rule reads off a reply, ``None`` for none; the same reply is read once."""
    return RULES[rule](reply, dict(options))
