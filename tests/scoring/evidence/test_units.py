"""The independent units of a task: which group they come from, how they are drawn, and what they average to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medpodium.challenges.schema.definition import Group
from medpodium.findings import UsageError
from medpodium.scoring.evidence.units import Scheme, choose, task_units, units_of
from medpodium.scoring.ranking.axes import OK, RankingCode, ScoreArray


def array(groups: dict[str, tuple[str, ...]], pooled: tuple[bool, ...] = ()) -> ScoreArray:
    number = len(next(iter(groups.values())))
    values = np.zeros((1, number))
    labels = {"submission": ("a",), "case": tuple(f"c{index}" for index in range(number))}
    state = np.full(values.shape, OK, dtype=np.uint8)
    pooled = pooled or (False,) * number
    return ScoreArray(values, state, ("submission", "case"), labels, ("higher",), (None,), (0.0,), groups, pooled)


def test_a_group_called_patient_or_declared_is_the_cluster() -> None:
    assert choose(["centre"]).cluster is None
    assert choose(["centre", "patient"]) == Scheme(cluster="patient", default=True)
    assert choose(["Patient"]).cluster == "Patient"
    assert choose(["centre", "patient"], {"centre": Group(cluster=True)}).cluster == "centre"
    assert choose(["patient"], {"patient": Group(cluster=False)}).cluster is None
    assert choose(["patient"], cluster="none") == Scheme(ignored="patient")
    assert choose(["patient"], compat=True) == Scheme(ignored="patient")
    assert choose(["patient", "centre"], cluster="centre", compat=True).cluster == "centre"
    with pytest.raises(UsageError, match="did you mean 'centre'"):
        choose(["centre"], cluster="center")


def test_units_are_clusters_and_cases_without_one() -> None:
    own = array({"patient": ("p", "", "q", "p", ""), "side": ("l", "r", "l", "l", "l")}, (False,) * 4 + (True,))
    units, told = task_units(own, Scheme(cluster="patient", default=True))
    assert (units.number, units.n_cases, units.words()) == (3, 4, "3 patients")
    assert units.names == ("c1", "p", "q")
    assert units.of_case.tolist() == [1, 0, 2, 1, -1]
    assert [one.tolist() for one in units.members] == [[1], [0, 3], [2]]
    assert [one.code for one in told] == [RankingCode.CLUSTERED]
    counts = units.draw(np.random.default_rng(0), 50)
    assert (counts[:, 0] == counts[:, 3]).all()
    assert (counts[:, 4] == 1).all()
    assert (counts[:, [0, 1, 2]].sum(axis=1) == 3).all()
    part = units.among(["c2", "c0", "unknown"])
    assert (part.names, part.of_case.tolist()) == (("p", "q"), [1, 0, -1])
    _, told = task_units(own, Scheme(ignored="patient"))
    assert [one.code for one in told] == [RankingCode.CLUSTER_IGNORED]
    alone = array({"patient": ("p", "q")})
    assert task_units(alone, Scheme(cluster="patient", default=True))[1] == []
    assert task_units(alone, Scheme(ignored="patient"))[1] == []


def test_a_cluster_in_two_strata_is_refused() -> None:
    own = array({"patient": ("p", "q", "p"), "side": ("l", "r", "r")})
    with pytest.raises(UsageError, match="'p' has cases in two levels of 'side': 'l' and 'r'"):
        units_of(own, Scheme("side", "patient"))
    assert units_of(own, Scheme("side")).strata == ("l", "r", "r")


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1, width=32)), min_size=1, max_size=30))
def test_means_are_those_of_rational_numbers_rounded_once(rows: list[tuple[int, float]]) -> None:
    units = units_of(array({"patient": tuple(f"p{level}" for level, _ in rows)}), Scheme(cluster="patient"))
    found = units.means(np.array([[value] for _, value in rows]))[:, 0]
    for name, mean in zip(units.names, found.tolist(), strict=True):
        own = [Fraction(value) for level, value in rows if name == f"p{level}"]
        if units.clustered:
            assert mean == float(sum(own) / len(own))
        else:
            assert mean == float(own[0])
