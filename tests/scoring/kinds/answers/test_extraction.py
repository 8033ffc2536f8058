"""Extraction on hand-made replies: what each rule takes and leaves, and the defects of published scorers, reproduced.

The answers beside the replies are what a careful reader of the rule's description gets; none comes from the code.
"""

from __future__ import annotations

import itertools

import pytest

from medpodium.challenges.schema.answers import EXTRACTIONS
from medpodium.scoring.kinds.answers.extraction import RULES

OPTIONS = {
    "A": "Benign nodule",
    "B": "Pneumonia",
    "C": "Malignant tumour",
    "D": "Pleural effusion",
    "E": "Normal",
}
CHINESE = {"A": "良性结节", "B": "肺炎", "C": "恶性肿瘤", "D": "胸腔积液", "E": "正常"}

# reply, letter-strict, letter-last, option-text
REPLIES = [
    ("C", "C", "C", None),
    ("C.", "C", "C", None),
    (" c ", None, None, None),
    ("(C)", "C", "C", None),
    ("[C]", "C", "C", None),
    ("**C**", "C", "C", None),
    ("**C.**", "C", "C", None),
    ("`C`", "C", "C", None),
    ("# C", "C", "C", None),
    ("Option C", "C", "C", None),
    ("Answer: C", "C", "C", None),
    ("answer: C", "C", "C", None),
    ("Final answer: (C)", "C", "C", None),
    ("The answer is C.", "C", "C", None),
    ("The correct answer is **C**", "C", "C", None),
    ("The correct option is (C).", "C", "C", None),
    ("The answer is option C.", "C", "C", None),
    ("C. Malignant tumour", "C", "C", "C"),
    ("C) Malignant tumour.", "C", "C", "C"),
    ("(C) malignant tumour", "C", "C", "C"),
    ("C: Malignant tumour", "C", "C", "C"),
    ("Answer: C. Malignant tumour", "C", "C", "C"),
    ("Malignant tumour", None, None, "C"),
    ("malignant tumour.", None, None, "C"),
    ("The malignant tumour", None, None, "C"),
    ("Answer: Malignant tumour", None, None, "C"),
    ("**Pneumonia**", None, None, "B"),
    (r"$\boxed{C}$", "C", "C", None),
    (r"\boxed{C}", "C", "C", None),
    (r"$\boxed{\text{C}}$", "C", "C", None),
    (r"The answer is $\mathbf{C}$.", "C", "C", None),
    (r"\(\boxed{C}\)", "C", "C", None),
    ("Ｃ", "C", "C", None),
    ("（C）", "C", "C", None),
    ("答案：C", "C", "C", None),
    ("答案是C。", "C", "C", None),
    ("答案为 C", "C", "C", None),
    ("正确答案是：（C）", "C", "C", None),
    ("选C", "C", "C", None),
    ("故选C。", "C", "C", None),
    ("选项C", "C", "C", None),
    ("图像显示右肺下叶有一个肿块，因此选C。", None, "C", None),
    ("肿块边缘有毛刺。\n答案：C", None, "C", None),
    ("A mass is visible in the left lung. The answer is C.", None, "C", None),
    ("A mass with spiculated margins.\n\nC", None, "C", None),
    ("C\n\nThe margins are spiculated.", None, "C", None),
    ("C. Malignant tumour\n\nA mass with spiculated margins is seen.", None, "C", "C"),
    ("C. Malignant tumour because of the margins", None, "C", None),
    ("First I thought of B. However, the answer is C.", None, "C", None),
    ("The answer is B. On second thought, the answer is C.", None, "C", None),
    ("I would choose C, since the margins are spiculated.", None, "C", None),
    ("I'd go with C", "C", "C", None),
    ("The answer is C because the margins are spiculated.", None, "C", None),
    ("The answer is C, not A.", None, "C", None),
    ("The answer is A because it is round.", None, "A", None),
    ("The answer is A mass in the left lung.", None, None, None),
    ("The answer is a mass in the left lung.", None, None, None),
    ("A", "A", "A", None),
    ("A mass", None, None, None),
    ("A cat", None, None, None),
    ("A round nodule is seen.", None, None, None),
    ("I cannot tell from this image.", None, None, None),
    ("I'm sorry, but I can't help with medical images.", None, None, None),
    ("Sorry, I can't help with images of people yet.", None, None, None),
    ("抱歉，我无法根据该图像作出诊断。", None, None, None),
    ("", None, None, None),
    ("A or C", None, None, None),
    ("The answer is A or C.", None, None, None),
    ("A, C", None, None, None),
    ("Both A and C are right.", None, None, None),
    ("答案是A和C", None, None, None),
    ("A, B, C, D or E", None, None, None),
    ("F", None, None, None),
    ("The answer is F.", None, None, None),
    ("It is not a benign nodule.", None, None, None),
    ("Benign nodule or malignant tumour", None, None, None),
    ("E. coli is the most likely cause.", None, None, None),
    ("Vitamin C deficiency", None, None, None),
    ("Hepatitis B is excluded, so the answer is C.", None, "C", None),
    ("- A: no\n- B: no\n- C: yes\n\nAnswer: C", None, "C", None),
    ("1. Spiculated margins\n2. Growth\n\nFinal answer: C", None, "C", None),
    ("<think>Maybe A? The answer is B... no.</think>\nC", "C", "C", None),
    ("<think>The answer is C, but let me", None, None, None),
    ("reasoning without an opening mark: the answer is B.</think> C", "C", "C", None),
    ("ABC", None, None, None),
    ("Case 1", None, None, None),
    ("The answer is not C.", None, None, None),
    ("Answer: **C** (spiculated margins)", None, "C", None),
]


def test_there_are_enough_replies_and_every_rule_is_known() -> None:
    assert len({reply for reply, *_ in REPLIES}) == len(REPLIES) >= 60
    assert set(RULES) == set(itertools.chain.from_iterable(EXTRACTIONS.values()))


@pytest.mark.parametrize(("reply", "strict", "last", "text"), REPLIES)
def test_each_rule_takes_what_it_says(reply: str, strict: str | None, last: str | None, text: str | None) -> None:
    assert RULES["letter-strict"](reply, OPTIONS) == strict
    assert RULES["letter-last"](reply, OPTIONS) == last
    assert RULES["option-text"](reply, OPTIONS) == text
    assert RULES["letter-or-text"](reply, OPTIONS) == (last or text)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("恶性肿瘤", "C"),
        ("恶性肿瘤。", "C"),
        ("C、恶性肿瘤", "C"),
        ("答案是恶性肿瘤", "C"),
        ("良性结节或恶性肿瘤", None),
        ("不是肺炎", None),
    ],
)
def test_texts_of_options_in_chinese(reply: str, text: str | None) -> None:
    assert RULES["letter-or-text"](reply, CHINESE) == text


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("A, C", "AC"),
        ("C, A", "AC"),
        ("AC", "AC"),
        ("A and C", "AC"),
        ("A、C", "AC"),
        ("**A**, **C**", "AC"),
        ("Answer: A, C.", "AC"),
        ("答案：ACD", "ACD"),
        ("[A, C]", "AC"),
        ("A", "A"),
        ("A mass", None),
        ("all of them", None),
        ("AAC", None),
        ("A, F", None),
        ("", None),
    ],
)
def test_several_options(reply: str, answer: str | None) -> None:
    assert RULES["letters"](reply, OPTIONS) == answer


@pytest.mark.parametrize(
    ("reply", "strict", "last"),
    [
        ("3.5", "3.5", "3.5"),
        ("-2", "-2.0", "-2.0"),
        ("1e3", "1000.0", "1000.0"),
        ("**3.5**", "3.5", "3.5"),
        (r"$\boxed{42}$", "42.0", "42.0"),
        ("3,5", "3.5", "3.5"),
        ("3.5 mm", None, "3.5"),
        ("The answer is 3.5 mm.", None, "3.5"),
        ("2 + 2 = 4", None, "4.0"),
        ("答案是12", None, "12.0"),
        ("between 3 and 4", None, None),
        ("about half", None, None),
        ("", None, None),
        ("1,234", None, None),
    ],
)
def test_numbers(reply: str, strict: str | None, last: str | None) -> None:
    assert RULES["number-strict"](reply, {}) == strict
    assert RULES["number-last"](reply, {}) == last


ARTICLE = "A mass is visible in the left lung. The answer is C."


def test_article_is_an_option_as_published_and_not_by_our_rules() -> None:
    """MedQ-Bench and MedQ-Deg: the pattern for a letter in front fires on the article before any other is tried."""
    assert RULES["as-medq-bench"](ARTICLE, OPTIONS) == "A"
    assert RULES["letter-last"](ARTICLE, OPTIONS) == "C"
    assert RULES["letter-strict"](ARTICLE, OPTIONS) is None


def test_article_in_small_letters_is_an_option_as_published_and_not_by_our_rules() -> None:
    """MedQ-Bench: replies are read in capitals, so the last pattern, a lone letter, fires on any article."""
    for reply in ("This is a tumour with spiculated margins.", "I see a tumour."):
        assert RULES["as-medq-bench"](reply, OPTIONS) == "A"
        assert all(RULES[rule](reply, OPTIONS) is None for rule in ("letter-strict", "letter-last", "option-text"))


def test_text_of_an_option_that_is_denied_is_chosen_as_published_and_not_by_our_rules() -> None:
    """VLMEvalKit: the text of an option anywhere in a reply is the answer, as is a lone A of a short one."""
    assert RULES["as-vlmevalkit"]("It is not a benign nodule.", OPTIONS) == "A"
    assert RULES["as-vlmevalkit"]("A cat", OPTIONS) == "A"
    for reply in ("It is not a benign nodule.", "A cat"):
        assert all(RULES[rule](reply, OPTIONS) is None for rule in ("letter-strict", "letter-last", "option-text"))


def test_refusal_gets_a_random_option_as_published_and_nothing_by_our_rules() -> None:
    """VLMEvalKit draws where it and its judge find nothing; here the draw can be repeated; every option comes up."""
    replies = [f"I cannot tell from image {number}." for number in range(200)]
    found = [RULES["as-vlmevalkit"](reply, OPTIONS) for reply in replies]
    assert found == [RULES["as-vlmevalkit"](reply, OPTIONS) for reply in replies]
    assert set(found) == set(OPTIONS)
    assert all(RULES[rule](reply, OPTIONS) is None for reply in replies for rule in ("letter-strict", "letter-last"))
    # the refusals on its list choose an option that is always wrong instead
    assert RULES["as-vlmevalkit"]("Cannot determine the answer", OPTIONS) == "Z"


def test_published_rules_agree_with_ours_on_plain_replies() -> None:
    for reply in ("C", "C.", "(C)", "Answer: C", "The answer is C.", "C. Malignant tumour"):
        for rule in ("as-medq-bench", "as-vlmevalkit", "letter-last"):
            assert RULES[rule](reply, OPTIONS) == "C", (rule, reply)
