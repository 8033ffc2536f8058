"""Texts as they are compared: without what is only layout, in one Unicode form, as words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_CLOSED_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_LATEX = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf|mathsf|mathit|rm|bf)\s*\{([^{}]*)\}")
_LAYOUT = re.compile(r"[*_`$~#>]+|\\[()\[\]]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af]")


@lru_cache(maxsize=200_000)
def bare(reply: str) -> str:
    """Return a reply without thoughts, markdown and LaTeX around words, with full-width signs as plain ones.

    A thought (``<think>...</think>``) that is not closed leaves nothing: the model never came to its answer.
    """
    text = _THOUGHT.sub(" ", reply)
    if _CLOSED_THOUGHT.search(text):  # the opening mark was part of the prompt
        text = _CLOSED_THOUGHT.split(text)[-1]
    if _OPEN_THOUGHT.search(text):
        return ""
    text = unicodedata.normalize("NFKC", text)
    previous = None
    while previous != text:
        previous, text = text, _LATEX.sub(r"\1", text)
    return _LAYOUT.sub("", text).strip()


@lru_cache(maxsize=200_000)
def normalised(text: str) -> str:
    """Return a text without capitals, punctuation, articles and repeated blanks (SQuAD's rule), in Unicode form NFKC.

    A point or comma between digits stays: 1.5 is not 15.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = [
        char if not unicodedata.category(char).startswith(("P", "S")) or _in_number(text, at) else " "
        for at, char in enumerate(text)
    ]
    return " ".join(_ARTICLES.sub(" ", "".join(kept)).split())


def _in_number(text: str, at: int) -> bool:
    if text[at] in "+-":
        return at + 1 < len(text) and text[at + 1].isdigit() and (at == 0 or text[at - 1].isspace())
    return (
        text[at] in ".,%" and at > 0 and text[at - 1].isdigit() and (text[at] == "%" or text[at + 1 : at + 2].isdigit())
    )


def words(text: str) -> list[str]:
    """Return the words of a normalised text; every Chinese, Japanese or Korean sign is one."""
    return _CJK.sub(lambda found: f" {found[0]} ", normalised(text)).split()


def token_f1(said: str, true: str) -> float:
    """Return the F1 score of the words of two texts, counted as often as they occur (Rajpurkar et al., EMNLP 2016).

    Two texts without words are equal.
    """
    one, other = Counter(words(said)), Counter(words(true))
    if not one or not other:
        return float(one == other)
    same = sum((one & other).values())
    return 2.0 * same / (sum(one.values()) + sum(other.values()))
