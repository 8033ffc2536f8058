"""Extraction as published scorers do it, defects included: to reproduce published tables, not to score by.

Written from their behaviour (MedQ-Bench's and VLMEvalKit's public evaluation code). Where a scorer draws at random
without a seed, the draw here depends on reply and options, so that it can be repeated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
NO_OPTION = "Z"
"""VLMEvalKit's option that is always wrong: what a refusal chooses."""


def medq_bench(reply: str, offered: Mapping[str, str]) -> str | None:
    """Read a reply as MedQ-Bench and MedQ-Deg do: the first of five patterns that fits, capitals ignored.

    Known defect: every lone ``a`` is option A, and a reply that begins with one ("A mass is visible ... The answer is
    C.") gives A whatever it goes on to say.
    """
    text = reply.strip().upper()
    last = max([*offered, "D"])
    letter = f"[A-{last}]"
    if re.fullmatch(letter, text):
        return text
    for pattern in (
        rf"^({letter})[.)\s]",
        rf"(?:ANSWER\s+IS\s+|OPTION\s+)({letter})(?:\s|$|[^A-Z])",
        rf"^({letter})\s*[-:]",
        rf"(?:^|[^A-Z])({letter})(?:[^A-Z]|$)",
    ):
        found = re.search(pattern, text)
        if found:
            return found[1]
    return None


def vlmevalkit(reply: str, offered: Mapping[str, str]) -> str:
    """Read a reply as VLMEvalKit does without a judge: a lone letter near the end, an option's text, else a draw.

    Known defects: an option's text anywhere in the reply is the answer ("It is not benign" chooses "benign"); a lone
    ``A`` is option A in a short reply ("A cat"); and where nothing is found, a random option is (with VLMEvalKit of
    another run another one; here the draw follows from the reply).
    """
    found = _vlmevalkit_letter(reply, offered) or _vlmevalkit_text(reply, offered)
    return found or drawn(reply, offered)


def is_drawn(reply: str, offered: Mapping[str, str]) -> bool:
    """Return whether VLMEvalKit's rule finds nothing in a reply and draws an option."""
    return _vlmevalkit_letter(reply, offered) is None and _vlmevalkit_text(reply, offered) is None


def _vlmevalkit_letter(reply: str, offered: Mapping[str, str]) -> str | None:
    if "Failed to obtain answer via API" in reply:
        return None
    if any(text in reply for text in _REFUSALS):
        return NO_OPTION
    tokens = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    present = [letter for letter in offered if letter in tokens]
    if len(present) == 1:
        # only the first place of the letter is looked at
        return present[0] if tokens.index(present[0]) > len(tokens) - 5 else None
    return NO_OPTION if not present and NO_OPTION in tokens else None


def _vlmevalkit_text(reply: str, offered: Mapping[str, str]) -> str | None:
    if len(reply) > 2 * sum(len(text) for text in offered.values()):
        return None
    found = [letter for letter, text in offered.items() if text.lower() in reply.lower()]
    return found[0] if len(found) == 1 else None


def drawn(reply: str, offered: Mapping[str, str]) -> str:
    """Return an option by chance, the same one for the same reply and options."""
    letters = sorted(offered)
    text = "\0".join([reply, *(f"{letter}={offered[letter]}" for letter in letters)])
    return letters[int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % len(letters)]
