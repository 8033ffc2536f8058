"""Claims of reports and verbs that a statistician signs: how likely they are false, margins, sizes, raters.

Version 0.1.0 had no such claims: organizers wrote "better" or "on par" themselves. Truths are scipy's, pingouin's,
statsmodels', scikit-learn's and published ones, never ours.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pingouin
import pytest
from click.testing import CliRunner, Result
from scipy import special, stats

import medpodium
from medpodium.cli import main

Floats = npt.NDArray[np.float64]
PACKAGE = Path(medpodium.__file__).resolve().parent
CHALLENGE = """\
schema: 1
name: claims
title: Claims
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {{{structures}}}
    empty: {{both: skip, reference: worst, prediction: worst}}
    metrics:
      dice: {{kind: dice, missing: worst{margin}}}
recipes:
  own: {{steps: [{{mean: structure}}, {{mean: case}}, rank]}}
ranking: {{organs: own}}
"""


def _write(folder: Path, values: Floats, margin: str = "", patients: int = 0) -> tuple[str, str]:
    """Write a challenge and scores of shape (n_cases, n_teams, n_structures); return both paths."""
    names = "abcdefghijkl"[: values.shape[2]]
    structures = ", ".join(f"{name}: {{label: {at}}}" for at, name in enumerate(names, start=1))
    (folder / "claims.yaml").write_text(CHALLENGE.format(structures=structures, margin=margin), "utf-8")
    rows = [
        {
            "challenge": "claims", "edition": "1", "task": "organs", "submission": ("Aurora", "Boreas", "Ceres")[team],
            "case": f"c{case:04d}", "structure": names[part], "metric": "dice", "value": values[case, team, part],
            "status": "ok", **({"patient": f"p{case % patients:03d}"} if patients else {}),
        }
        for case, team, part in itertools.product(*map(range, values.shape))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    return str(folder / "claims.yaml"), str(folder / "scores.csv")


def _run(*arguments: object) -> Result:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done


def _claims(folder: Path, paths: tuple[str, str], *options: str) -> pd.DataFrame:
    _run("rank", *paths, "--bootstrap", 50, "--evidence", folder / "evidence", *options)
    file = folder / "evidence" / "claims.csv"
    assert file.exists(), "the evidence says nothing of false claims"
    return pd.read_csv(file, keep_default_na=False).set_index(["metric", "structure", "submission", "versus"])


def _report(paths: tuple[str, str]) -> tuple[dict[str, pd.DataFrame], str]:
    """Return the evidence behind a report and its paragraphs, no figure drawn."""
    from medpodium.challenges import registry
    from medpodium.reports.model import gather, sections
    from medpodium.scoring import table

    results = gather.gather(registry.load(paths[0]), table.read_scores(Path(paths[1])), bootstrap=50)
    blocks = sections.assemble(results, every=False).blocks()
    assert "claims" in results.evidence, "the evidence says nothing of claims"
    return dict(results.evidence), "\n".join(block.text for block in blocks if hasattr(block, "text"))


def test_better_comes_with_the_probability_that_it_is_false(tmp_path: Path) -> None:
    """Two lesions per patient: patients are the units, or the claim is surer than its data."""
    rng = np.random.default_rng(1)
    patient = rng.normal(0, 0.03, size=(20, 2, 1))
    values = np.clip(rng.normal([[0.79], [0.78]], 0.01, size=(40, 2, 3)) + np.tile(patient, (2, 1, 1)), 0, 1)
    found = _claims(tmp_path, _write(tmp_path, values, patients=20))
    means = values.mean(axis=2).reshape(2, 20, 2).mean(axis=0)
    first, second = ("Aurora", "Boreas") if means[:, 0].mean() > means[:, 1].mean() else ("Boreas", "Aurora")
    at = [first == "Boreas", first == "Aurora"]
    expected = stats.ttest_rel(means[:, int(at[0])], means[:, int(at[1])], alternative="greater").pvalue
    for name in (("", "", first, second), ("dice", "(mean)", first, second)):
        assert float(found.loc[name, "false_claim"]) == pytest.approx(expected, rel=1e-6)
        assert found.loc[name, "n_units"] == 20
    single = values[:, :, 0].reshape(2, 20, 2).mean(axis=0)
    one = stats.ttest_rel(single[:, int(at[0])], single[:, int(at[1])], alternative="greater").pvalue
    assert float(found.loc[("dice", "a", first, second), "false_claim"]) == pytest.approx(one, rel=1e-6)


def _near(seed: int = 3) -> Floats:
    """Return scores of three teams that differ by little in 60 cases and four organs."""
    rng = np.random.default_rng(seed)
    team = np.array([0.80, 0.799, 0.798])[None, :, None]
    return np.clip(team + rng.normal(0, 0.03, size=(60, 3, 4)) + rng.normal(0, 0.04, size=(60, 1, 4)), 0, 1)


def test_equivalent_is_said_within_a_declared_margin_that_two_tests_stay_in(tmp_path: Path) -> None:
    values = _near()
    means = values.mean(axis=2)
    order = np.argsort(-means.mean(axis=0))
    names = np.array(["Aurora", "Boreas", "Ceres"])[order]
    for folder, margin in ((tmp_path / "wide", 0.02), (tmp_path / "narrow", 0.003)):
        folder.mkdir()
        paths = _write(folder, values, f", margin: {margin}")
        _run("lint", paths[0])
        evidence, text = _report(paths)
        found = evidence["claims"].set_index(["metric", "structure", "submission", "versus"])
        p = [
            float(pingouin.tost(means[:, one], means[:, two], bound=margin, paired=True)["pval"].iloc[0])
            for one, two in itertools.combinations(order, 2)
        ]
        row = found.loc[("", "", names[0], names[1])]
        assert float(row["p_equivalent"]) == pytest.approx(p[0], rel=1e-6)
        holm = pingouin.multicomp(p, method="holm")[1]
        assert float(row["p_equivalent_adjusted"]) == pytest.approx(holm[0], rel=1e-6)
        said = f"{names[0]} and {names[1]} are equivalent within ±{margin}"
        assert (said in text) == (holm[0] <= 0.05) == (margin == 0.02)


_EQUAL = re.compile(r"\b(equal|equals|equally|equivalent|equivalence|identical|same|as good as|on par|no difference)\b")
_ALLOWED = ("which does not make them equal", "same cases for both", "the same for all submissions")


def _sentences(text: str) -> list[str]:
    return [part for line in text.splitlines() for part in re.split(r"(?<=[.;:])\s+", line)]


def test_cannot_be_told_apart_is_never_printed_as_equal(tmp_path: Path) -> None:
    """Without a margin nothing is equivalent, however near: not in the report, not in any text that makes one."""
    paths = _write(tmp_path, _near())
    _run("report", *paths, "--bootstrap", 50, "--formats", "markdown", "--out", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    about = re.compile(r"Aurora|Boreas|Ceres|told apart|rule out|better than")
    spoken = [part for part in _sentences(text) if about.search(part)]
    assert any("do not rule out" in part for part in spoken)
    assert any("is false with probability" in part for part in spoken)
    for part in spoken:
        for allowed in _ALLOWED:
            part = part.replace(allowed, "")
        assert not _EQUAL.search(part), part
    for file in sorted((PACKAGE / "reports").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "told apart" in node.value:
                for part in _sentences(node.value.replace("\n", " ")):
                    rest = part.replace("which does not make them equal", "").replace("which does not ", "")
                    assert not ("told apart" in part and _EQUAL.search(rest)), f"{file.name}: {part}"


def test_one_joint_statement_over_all_organs(tmp_path: Path) -> None:
    """Holm's rejections among all ordered pairs and organs, by scipy's Wilcoxon test as R makes it."""
    rng = np.random.default_rng(7)
    gain = np.where(np.arange(6) < 4, 0.03, 0.0)
    values = rng.normal(0.75, 0.02, size=(30, 2, 6))
    values[:, 0] += gain
    paths = _write(tmp_path, np.clip(values, 0, 1))
    _claims(tmp_path, paths)
    evidence, text = _report(paths)
    joint = evidence["joint_claims"].set_index(["submission", "versus"])
    p = {
        (pair, organ): stats.wilcoxon(
            values[:, pair[0], organ], values[:, pair[1], organ], alternative="greater", correction=True,
            method="asymptotic",
        ).pvalue
        for pair in ((0, 1), (1, 0)) for organ in range(6)
    }  # fmt: skip
    reject = pingouin.multicomp(list(p.values()), method="holm")[0]
    better = sum(sure for ((one, _), _), sure in zip(p, reject, strict=True) if one == 0)
    row = joint.loc[("Aurora", "Boreas")]
    assert (row["n_claims"], row["better"]) == (6, better)
    assert better >= 3
    _run("report", *paths, "--bootstrap", 50, "--formats", "markdown", "--out", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert f"show Aurora better than Boreas in {better} of 6 structures by Dice similarity coefficient, jointly" in text


def test_a_margin_is_declared_shown_and_checked(tmp_path: Path) -> None:
    yaml, _ = _write(tmp_path, _near(), ", margin: 0.015")
    assert "margin 0.015" in _run("show", yaml).output
    _run("lint", yaml)
    for margin in ("1", "0", "-0.1", "much"):
        yaml, _ = _write(tmp_path, _near(), f", margin: {margin}")
        done = CliRunner().invoke(main, ["lint", yaml])
        assert done.exit_code == 1, margin
        assert "margin" in done.output


def test_a_field_learns_what_it_can_show_before_it_runs() -> None:
    """R's wilcox.test of ten differences of one sign has p = .00296; Holm allows .05 / 20 in a field of five."""
    done = _run("analyse", "plan", "--teams", 5, "--cases", 10, "--json")
    found = json.loads(done.stdout)
    tests = found["reach"][0]
    smallest = stats.wilcoxon(np.arange(1.0, 11), alternative="greater", correction=True, method="asymptotic").pvalue
    assert tests["smallest"] == pytest.approx(float(smallest))
    assert not tests["possible"]
    assert "no pair of 5 teams can reach significance with 10 cases" in found["findings"][0]["cause"]
    least = next(
        n for n in range(2, 50)
        if stats.wilcoxon(np.arange(1.0, n + 1), alternative="greater", correction=True, method="asymptotic").pvalue
        <= 0.05 / 20
    )  # fmt: skip
    assert tests["least_cases"] == least


def test_size_of_the_next_edition_is_that_of_analytic_power(tmp_path: Path) -> None:
    """Normal differences, two teams: each direction is tested one-sided at .025."""
    n, effect = 400, 0.45
    gaps = special.ndtri((np.arange(n) + 0.5) / n)
    gaps = 0.02 * (gaps / gaps.std(ddof=1) + effect)
    base = np.random.default_rng(0).uniform(0.5, 0.7, size=n)
    values = np.column_stack([base + gaps, base])[:, :, None]
    out = tmp_path / "plan"
    done = _run("analyse", "plan", *_write(tmp_path, values), "--out", out, "--editions", 600, "--json")
    found = pd.DataFrame(json.loads(done.stdout)["needed"]).set_index(["shows", "if_true"])
    exact = pingouin.power_ttest(d=effect, power=0.8, alpha=0.025, contrast="paired", alternative="greater")
    tests = found.loc[("tests", "as observed")]
    # Wilcoxon's test needs pi/3 as many as Student's (Pitman); the interval is that of the simulation
    assert tests["low"] - 2 <= exact * np.pi / 3 <= tests["high"] + 2
    sets = found.loc[("sets", "as observed")]
    assert exact <= sets["units"] <= 1.35 * exact  # they keep a share of their level in reserve
    assert found.loc[("tests", "lower end of its interval"), "units"] > tests["units"]
    curve = pd.read_csv(out / "curve.csv")
    assert curve["power"].between(0, 1).all()
    assert (curve["units"] > 0).all()


def test_raters_are_compared_by_kappa_icc_and_alpha(tmp_path: Path) -> None:
    """Krippendorff's own example ("Computing Krippendorff's alpha-reliability", 2011): .743, .815, .849, .797."""
    ratings = [
        (1, 1, None, 1), (2, 2, 3, 2), (3, 3, 3, 3), (3, 3, 3, 3), (2, 2, 2, 2), (1, 2, 3, 4), (4, 4, 4, 4),
        (1, 1, 2, 1), (2, 2, 2, 2), (None, 5, 5, 5), (None, None, 1, 1), (None, 3, None, None),
    ]  # fmt: skip
    lines = ["item,ann,bob,cem,dan"]
    lines += [",".join([f"u{at}", *("" if one is None else str(one) for one in row)]) for at, row in enumerate(ratings)]
    file = tmp_path / "ratings.csv"
    file.write_text("\n".join(lines), "utf-8")
    found = json.loads(_run("analyse", "raters", file, "--bootstrap", 200, "--json").stdout)
    table = pd.DataFrame(found["agreement"]).set_index(["coefficient", "kind", "raters"])
    for kind, value in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)):
        assert table.loc[("alpha", kind, "all"), "value"] == pytest.approx(value, abs=5e-4)
    assert found["findings"][0]["cause"].startswith("7 of 48 ratings are missing; 8 of 12 items have all of them")


@pytest.mark.parametrize(
    ("text", "where", "cause"),
    [
        ("item,rater,value\nu,ann,1\nu,ann,2\n", "row 3", "'ann' rates 'u' a second time, with '2' after '1'"),
        ("item,rater,value\nu,ann,1\nv,ann,two\n", "row 3", "'two' by 'ann' is no number"),
        ("item,rater,value\nu,ann,1\nv,ann,2\n", "ratings.csv", "only 'ann' has rated"),
        ("unit,ann,bob\nu,1,1\n", "ratings.csv", "no column 'item'"),
        ("item,rater,value\nu,ann,1\nu,,2\n", "row 3", "no rater is named"),
    ],
)
def test_ratings_that_cannot_be_used_are_named(text: str, where: str, cause: str, tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    file.write_text(text, "utf-8")
    done = CliRunner().invoke(main, ["analyse", "raters", str(file)])
    said = " ".join((done.output or "").split())
    assert done.exit_code == 2, said
    assert where in said
    assert cause in said
