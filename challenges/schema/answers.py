"""The kind ``answers``: answers to questions, as models write them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from medpodium.challenges.schema.base import ByKind, Model, Name
from medpodium.challenges.schema.metrics.answers import (
    ConfidenceMetric,
    ItemMetric,
    JudgedMetric,
    LabelMetric,
    OrdersMetric,
    ShiftMetric,
)
from medpodium.challenges.schema.metrics.pooled import CalibrationMetric
from medpodium.challenges.schema.metrics.resource import AreaMetric, ResourceMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.task import Files, Grid, TaskModel

Form = Literal["choice", "choices", "number", "text", "rubric"]
"""One option, several options, a number, a short text, or scores that a judge gave."""

Extraction = Literal[
    "letter-strict",
    "letter-last",
    "option-text",
    "letter-or-text",
    "letters",
    "whole",
    "number-strict",
    "number-last",
    "as-medq-bench",
    "as-vlmevalkit",
]
"""Rules by which an answer is read off a reply; docs/answers.md says what each of them takes."""

EXTRACTIONS: dict[str, tuple[Extraction, ...]] = {
    "choice": ("letter-strict", "letter-last", "option-text", "letter-or-text", "as-medq-bench", "as-vlmevalkit"),
    "choices": ("letters",),
    "number": ("number-strict", "number-last"),
    "text": ("whole",),
    "rubric": ("whole",),
}
"""The rules that fit each form; the first one holds unless another is named."""


class AnswerFiles(Files):
    """The key and a team's table: CSV, TSV, JSONL or Parquet.

    Parameters
    ----------
    public : str, optional
        Table of questions that participants get, beside the key; it is searched for what it must not hold.
    """

    reference: str = "references.csv"
    prediction: str = "predictions.csv"
    public: str | None = None


class AnswerColumns(Model):
    """Names of the columns of both tables; capitals do not matter.

    Parameters
    ----------
    item : str
        The question's name, in both tables.
    answer, aliases, question : str
        Of the key: what is right, other ways to say it (separated by ``|``), and the question's text.
    prediction, confidence, trial, order : str
        Of a team's table: the reply, its confidence from 0 to 1, which of several trials, and in which order the
        options were shown.
    criterion, score, judge, prompt : str
        Of a table of judged answers: criterion, score, model that judged, and digest of its prompt.
    """

    item: str = "case"
    answer: str = "answer"
    aliases: str = "aliases"
    question: str = "question"
    prediction: str = "prediction"
    confidence: str = "confidence"
    trial: str = "trial"
    order: str = "order"
    criterion: str = "criterion"
    score: str = "score"
    judge: str = "judge"
    prompt: str = "prompt"


class Tolerance(Model):
    """How far a number may be from the key's and still be right: the larger of both.

    Parameters
    ----------
    absolute : float
        In the unit of the number.
    relative : float
        As a share of the key's number.
    """

    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    relative: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Criterion(Model):
    """One thing that a judge scores.

    Parameters
    ----------
    title : str, optional
        Printed name.
    low, high : float
        Lowest and highest score; what is outside counts as not parsed.
    """

    title: str | None = None
    low: float = 0.0
    high: float = 1.0


AnswerMetric: TypeAlias = Annotated[
    ItemMetric
    | OrdersMetric
    | JudgedMetric
    | LabelMetric
    | ConfidenceMetric
    | ShiftMetric
    | CalibrationMetric
    | ResourceMetric
    | AreaMetric,
    ByKind(),
]


class AnswersTask(TaskModel):
    """Answer questions.

    Parameters
    ----------
    form : {"choice", "choices", "number", "text", "rubric"}
        What an answer is.
    columns : AnswerColumns
        Names of columns.
    options : list of str
        Letters of the options, which are the key's columns with their texts, too, where it has them.
    extraction : str, optional
        Rule by which an answer is read off a reply.
    compared : list of str
        Other rules, whose answers are counted and shown beside the scores, and rank nobody.
    tolerance : Tolerance
        Of numbers.
    text : {"exact", "normalised"}
        Whether short texts are compared as they are, or without capitals, punctuation and articles.
    trials : int
        How often each question is asked; a trial that lacks is wrong.
    orders : dict of str to str
        Orders in which the options are shown (``original: ABCD``); of a question with fewer options only those it has.
    confidence : {"given", "votes"}, optional
        Where confidence comes from: the team's table, or ``1 - H / log K`` of the shares of the answers of all trials.
    criteria : dict of str to Criterion
        What a judge scores.
    """

    kind: Literal["answers"]
    files: AnswerFiles = AnswerFiles()
    metrics: dict[Name, AnswerMetric] = Field(min_length=1)
    form: Form = "choice"
    columns: AnswerColumns = AnswerColumns()
    options: list[Annotated[str, Field(pattern=r"^[A-Z]$")]] = Field(default_factory=list)
    extraction: Extraction | None = None
    compared: list[Extraction] = Field(default_factory=list)
    tolerance: Tolerance = Tolerance()
    text: Literal["exact", "normalised"] = "normalised"
    trials: int = Field(default=1, ge=1)
    orders: dict[Name, str] = Field(default_factory=dict)
    confidence: Literal["given", "votes"] | None = None
    criteria: dict[Name, Criterion] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _form_fits(self) -> AnswersTask:
        fitting = EXTRACTIONS[self.form]
        if self.extraction is not None and self.extraction not in fitting:
            raise ValueError(f"extraction {self.extraction} gives no {self.form}; use {', '.join(fitting)}")
        unfit = [rule for rule in self.compared if rule not in fitting]
        if unfit:
            raise ValueError(f"compared: {unfit[0]} gives no {self.form}; use {', '.join(fitting)}")
        if self.form in ("choice", "choices") and not self.options:
            raise ValueError(f"form {self.form} needs options: the letters to choose from, such as [A, B, C, D]")
        for name, order in self.orders.items():
            if sorted(order) != sorted(self.options):
                raise ValueError(f"order {name} is {order!r}; it has to hold each of {''.join(self.options)} once")
        if self.form == "rubric" and not self.criteria:
            raise ValueError("form rubric needs criteria: what the judge scores")
        return self

    @property
    def rule(self) -> Extraction:
        """The extraction rule in force."""
        return self.extraction or EXTRACTIONS[self.form][0]

    @property
    def rules(self) -> list[Extraction]:
        """The rule in force and those it is compared with; empty where there are no others."""
        named = list(dict.fromkeys((self.rule, *self.compared)))
        return named if len(named) > 1 else []

    @property
    def answers(self) -> list[str]:
        """The options."""
        return list(self.options)

    @property
    def answers_words(self) -> str:
        """What stands before the list of options in a sentence on the questions."""
        return " with the options"

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the criteria, or of the orders of the options."""
        if self.form == "rubric":
            return {name: item.title or name for name, item in self.criteria.items()}
        return {name: f"order {name}" for name in self.orders}

    @property
    def pieces(self) -> list[str]:
        """Parts of a question that have an answer of their own: criteria or orders; one without a name where none."""
        return list(self.structure_titles) or [""]

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the parts of a question that a metric has its own value of."""
        return self.pieces if isinstance(metric, (ItemMetric, JudgedMetric)) else [""]

    def broken(self) -> Rules:
        """Yield metrics that need what the task does not have."""
        for key, metric in self.metrics.items():
            for lacks, what, fix in self._needs(metric):
                if lacks:
                    yield Broken(LintCode.METRIC_UNFIT, ("metrics", key), f"{metric.kind} needs {what}", fix)

    def _needs(self, metric: MetricSpec) -> list[tuple[bool, str, str]]:
        form, found = self.form, []
        if isinstance(metric, JudgedMetric) != (form == "rubric") and not isinstance(
            metric, (ResourceMetric, AreaMetric)
        ):
            found.append((True, "another form of answer", f"form {form} has other metrics"))
        if isinstance(metric, OrdersMetric):
            found.append((len(self.orders) < 2, "orders of the options", "declare two or more under 'orders'"))
        if metric.kind == "token_f1":
            found.append((form != "text", "short texts", "use 'form: text'"))
        if metric.kind in ("option_recall", "option_precision"):
            found.append((form != "choices", "several options per answer", "use 'form: choices'"))
        if isinstance(metric, (ConfidenceMetric, ShiftMetric, CalibrationMetric)):
            found.append((self.confidence is None, "confidence", "declare 'confidence: given' or 'confidence: votes'"))
        if isinstance(metric, LabelMetric):
            found.append((form in ("number", "text"), "answers from a closed list", "use 'correct' instead"))
        if isinstance(metric, ItemMetric) and metric.trials in ("pass", "pass-all"):
            found.append((metric.k > self.trials, f"{metric.k} trials", f"declare 'trials: {metric.k}' or more"))
        return found

    def details(self) -> list[str | Grid]:
        """Return how replies are read, and what may be in them."""
        lines: list[str | Grid] = [f"{self.form} read by the rule {self.rule}"]
        if self.compared:
            lines.append(f"compared with {', '.join(self.compared)}")
        if self.options:
            lines.append(f"options {', '.join(self.options)}")
        if self.trials > 1:
            lines.append(f"{self.trials} trials of every question")
        lines += [f"order {name}: {order}" for name, order in self.orders.items()]
        lines += [f"criterion {name}: {item.low:g} to {item.high:g}" for name, item in self.criteria.items()]
        return lines
