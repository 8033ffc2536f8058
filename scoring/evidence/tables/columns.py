"""Every file in an evidence folder and every column in it: the contract between ranking and reporting.

``medpodium rank --evidence DIR`` writes these tables and one ``evidence.json``. A table is always written; it has
no rows when the evidence does not exist (no bootstrap asked for, one task only, no groups). Columns of text are
empty and columns of numbers are blank where a value does not apply. Rows are sorted, numbers are printed with 17
significant digits, and nothing depends on the clock or the machine: one seed gives the same bytes.

``structure`` is ``""`` for values of a whole case and ``(mean)`` for the mean over the structures of a case.
Ordered pairs (``submission``, ``versus``) read "submission is better than versus".
"""

from __future__ import annotations

PAIR = ("task", "metric", "structure", "submission", "versus")

TABLES: dict[str, tuple[str, ...]] = {
    # Best first. After the fixed columns comes one per step of the recipe (mean_case:liver:dice, ...).
    # value_low..value_high: 95 % interval of the ranked value, value_method how it was made, value_note what has to be
    # said of it, or why there is none; rank_low..rank_high: 95 % of the bootstrap ranks; set_low..set_high: rank set
    # for all at once, and guarantee how often such sets hold ("95 %", with fewer than 50 units "95 % unless rare
    # failures differ", or "none" where they only describe the resamples); letters: submissions that share one cannot be
    # told apart, those that share none can; first: share of resamples with rank 1; n_cases: cases that count, or
    # observed ones behind pooled values; missing, penalised, skipped: scores of the submission with such a status
    # (failed and absent ones are missing).
    "leaderboard.csv": (
        "task",
        "recipe",
        "rank",
        "submission",
        "value",
        "value_low",
        "value_high",
        "value_method",
        "value_note",
        "better",
        "letters",
        "rank_low",
        "rank_high",
        "set_low",
        "set_high",
        "guarantee",
        "first",
        "n_cases",
        "missing",
        "penalised",
        "skipped",
    ),
    # What every number of a metric and structure stands on, in cases: n count, by the recipe's policy; the others are
    # statuses, and absent cases have no row although others have. A penalty or stand-in counts, so they may overlap n.
    "counts.csv": (
        "task",
        "metric",
        "structure",
        "submission",
        "n",
        "missing",
        "failed",
        "absent",
        "penalised",
        "skipped",
    ),
    # An interval for every score: mean and median over cases and their 95 % intervals, or the value of a whole set of
    # cases (structure: the set, domain=ood). structure "(macro)": mean of the structures' means. n: cases that count;
    # n_units: independent ones (cases or clusters). method: percentile, bca, student, wilson or delong
    # (medpodium.scoring.evidence.intervals.means says which when), empty where there is no interval; note says why, or
    # what has to be said of it. Quantiles of type 7; sd with n - 1.
    "score_intervals.csv": (
        "task",
        "metric",
        "structure",
        "submission",
        "n",
        "n_units",
        "mean",
        "mean_low",
        "mean_high",
        "median",
        "median_low",
        "median_high",
        "sd",
        "q25",
        "q75",
        "method",
        "note",
        "median_method",
        "median_note",
    ),
    # Every pair of submissions and ranked score once, on the cases that both have; positive: submission is better. 95 %
    # intervals of single differences: all pairs together differ in more of them (differences.csv, significance.csv).
    "score_differences.csv": (*PAIR, "n_pairs", "n_units", "difference", "low", "high", "method", "note"),
    # Bootstrap intervals of what every step of the recipe computes: percentile (widened for few cases) and BCa, level
    # 0.95; n: cases of the submission, n_units: independent ones.
    "aggregates.csv": (
        "task",
        "submission",
        "column",
        "n",
        "n_units",
        "value",
        "low",
        "high",
        "bca_low",
        "bca_high",
    ),
    # Bootstrap distribution of the rank.
    "rank_intervals.csv": ("task", "submission", "rank", "mean", "median", "q025", "q25", "q75", "q975", "first"),
    # How many resamples gave a rank; ranks that never occur have no row.
    "frequencies.csv": ("task", "submission", "rank", "n", "share"),
    # tau-b of every resample's ranking with the full ranking; blank where one of them is a single tie.
    "kendall_tau.csv": ("task", "resample", "tau"),
    "kendall_summary.csv": ("task", "n", "n_undefined", "mean", "median", "q25", "q75", "q025", "q975"),
    # One-sided paired Wilcoxon signed-rank tests, adjusted over all ordered pairs of a block. For pooled metrics the
    # difference over the spread of its resamples; structure is the set of cases (domain=ood). n_pairs: units
    # that both have: cases, or clusters, which are compared by the means of their cases.
    "significance.csv": (*PAIR, "n_pairs", "p_value", "p_adjusted", "adjust", "significant"),
    # The score and its rank among the submissions of the same case (ties: min).
    "case_ranks.csv": ("task", "metric", "structure", "case", "submission", "value", "rank"),
    "case_rank_counts.csv": ("task", "metric", "structure", "submission", "rank", "n"),
    # Ranking under challengeR's seven methods, every metric by itself (ties: min), on n_cases cases.
    "method_comparison.csv": ("task", "metric", "structure", "method", "submission", "n_cases", "value", "rank"),
    # Ranks that cannot be excluded. construction: means, bounds, quantiles, pooled or resampled
    # (medpodium.scoring.evidence.sets.construct); guarantee: as in the leaderboard.
    "confidence_sets.csv": (
        "task",
        "submission",
        "rank",
        "marginal_low",
        "marginal_high",
        "simultaneous_low",
        "simultaneous_high",
        "construction",
        "guarantee",
    ),
    # Differences of what the recipe ranks; positive: submission is better; n_pairs: cases of both. Percentile interval
    # of the difference; simultaneous bounds over all pairs, blank where there is none (few cases differ); separated:
    # submission is surely better, all pairs together.
    "differences.csv": (
        "task",
        "submission",
        "versus",
        "n_pairs",
        "n_units",
        "difference",
        "low",
        "high",
        "simultaneous_low",
        "simultaneous_high",
        "separated",
    ),
    # What can be claimed of two submissions by means over units (cases, or clusters); difference: positive, submission
    # is better. metric "": the value that is ranked, all pairs; else the first against all, and neighbours in the
    # ranking. false_claim: probability that "better" is false (posterior: student for means, dirichlet for shares of
    # right cases); within: probability of a difference within the margin; p_equivalent: two one-sided tests;
    # p_no_worse: non-inferiority of submission, both adjusted by Holm over all pairs of the number;
    # verdict: equivalent, non-inferior (adjusted p <= 0.05) or "". Blank: no margin is declared, or too few units tell
    # the pair apart.
    "claims.csv": (
        *PAIR,
        "unit",
        "n_units",
        "difference",
        "posterior",
        "false_claim",
        "margin",
        "within",
        "p_equivalent",
        "p_equivalent_adjusted",
        "p_no_worse",
        "p_no_worse_adjusted",
        "verdict",
    ),
    # In how many structures (or sets of cases) of n_claims a submission is surely better, at level 0.05 for all pairs,
    # metrics and structures together: better and names by Holm, at_least by closed testing with Simes' tests (so many
    # of the claims are true; assumes no negative dependence); alone: Holm, had this pair been the only one to compare.
    "joint_claims.csv": (
        "task",
        "metric",
        "submission",
        "versus",
        "n_claims",
        "better",
        "at_least",
        "alone",
        "names",
    ),
    # Every universe: one combination of the choices the challenge marks as debatable. Blank choice: default.
    "multiverse.csv": (
        "task",
        "universe",
        "recipe",
        "metrics",
        "ties",
        "missing",
        "empty",
        "tolerance",
        "submission",
        "value",
        "rank",
    ),
    # winners: names joined by "; "; tau: with the universe 0, the declared recipe.
    "multiverse_winners.csv": (
        "task",
        "universe",
        "recipe",
        "metrics",
        "ties",
        "missing",
        "empty",
        "tolerance",
        "winners",
        "same_winner",
        "tau",
    ),
    # Random subsets of so many units (cases or whole clusters), without replacement; n_cases: their cases on average.
    "subsampling.csv": ("task", "n_units", "n_cases", "winner_stays", "tau_mean", "tau_q025", "tau_q975", "n_samples"),
    # unit: "case" or a group column; left_out: the case or level; change: rank_without - rank.
    "leave_one_out.csv": ("task", "unit", "left_out", "n_cases", "submission", "rank", "rank_without", "change"),
    # gap: mean inside the level minus mean in all other cases, per submission; better_in: "level", "rest"
    # or "" when the interval contains zero; n_level, n_rest: cases with a score.
    "domain_gap.csv": (
        "task",
        "metric",
        "structure",
        "group",
        "level",
        "submission",
        "n_level",
        "n_rest",
        "mean_level",
        "mean_rest",
        "gap",
        "low",
        "high",
        "better_in",
    ),
    # Positive rank_biserial and superiority above one half: submission is better.
    "effect_sizes.csv": (*PAIR, "n_pairs", "rank_biserial", "superiority"),
    # Units with cases that all submissions have are ranked by the means of these cases.
    "friedman.csv": (
        "task",
        "metric",
        "structure",
        "n_cases",
        "n_units",
        "n_submissions",
        "statistic",
        "p_value",
        "critical_difference",
    ),
    "nemenyi.csv": (*PAIR, "n_cases", "n_units", "mean_rank", "versus_mean_rank", "p_value"),
    # From observations, where there are any; part: which of the views in views.csv. "no answer" in a confusion: it is
    # missing, failed or not understood.
    "views.csv": ("task", "part", "title", "view"),
    "confusion.csv": ("task", "part", "submission", "truth", "answer", "n"),
    # Every case, hardest first: n submissions answered, right: share of them all that is right, same_wrong: the largest
    # share that gives one and the same wrong answer.
    "hardest.csv": ("task", "part", "case", "n", "right", "same_wrong"),
    # Every pair once: share of same answers where both answered, Cohen's kappa, and the share of the same among those
    # that both got wrong.
    "agreement.csv": ("task", "part", "submission", "versus", "n", "same", "kappa", "same_wrong"),
    # Place among the options as shown: keyed and chosen of n answers, wrong answers in it, and expected ones if wrong
    # answers went to all other options alike.
    "places.csv": ("task", "part", "submission", "place", "n", "keyed", "chosen", "wrong", "expected"),
    # Who judged a criterion, in how many rounds, how many of them hold no score, and how far rounds agree as raters.
    "judges.csv": ("task", "part", "submission", "judge", "n", "rounds", "unparsed", "mean", "alpha", "kappa"),
    # What other extraction rules would have read: shares right and with an answer; gained and lost against the scored.
    "extraction.csv": ("task", "part", "submission", "rule", "scored", "n", "right", "found", "gained", "lost"),
    # Kaplan-Meier curves of thirds of the predicted risks, at places along time.
    "risk_groups.csv": ("task", "part", "submission", "group", "time", "n", "free", "low", "high", "at_risk"),
    # Cumulative/dynamic AUC at some times, with bootstrap intervals of at most ten submissions.
    "time_auc.csv": ("task", "part", "submission", "time", "auc", "low", "high"),
    # Bins of equal width (bin 0 to 9) of confidence: its mean, and what part is right with Wilson's interval.
    "reliability.csv": ("task", "part", "submission", "bin", "n", "confidence", "right", "right_low", "right_high"),
    # Along the levels of a group: accuracy, mean confidence and their difference, with 95 % intervals; stand_ins of n.
    "calibration_levels.csv": (
        "task",
        "part",
        "group",
        "level",
        "submission",
        "n",
        "stand_ins",
        "right",
        "right_low",
        "right_high",
        "confidence",
        "shift",
        "shift_low",
        "shift_high",
    ),
    # roc: y sensitivity at x false alarms; pr: y precision at x recall; 95 % bands of the bootstrap.
    "curves.csv": ("task", "part", "curve", "submission", "x", "y", "low", "high"),
    # Said minus true: bias and 95 % limits of agreement (lower, upper) with their 95 % intervals.
    "limits.csv": (
        "task",
        "part",
        "submission",
        "n",
        "bias",
        "bias_low",
        "bias_high",
        "sd",
        "lower",
        "lower_low",
        "lower_high",
        "upper",
        "upper_low",
        "upper_high",
    ),
    # How many cases lie in which cell; plane: true (x true, y said) or bland (x mean, y difference).
    "scatter.csv": ("task", "part", "plane", "submission", "x", "y", "n"),
    # method: euclidean, borda, copeland, kemeny; optima: how many rankings are as near as the one shown (Kemeny only).
    "consensus.csv": ("method", "submission", "score", "rank", "optima"),
    "rank_dissimilarities.csv": (
        "task_1",
        "task_2",
        "kendall",
        "footrule",
        "weighted_footrule",
        "symmetric_difference",
    ),
    # Agglomerative clustering of the tasks by symmetric difference; members joined by "; ".
    "task_clusters.csv": ("linkage", "step", "height", "left", "right"),
}
"""File name to its columns, in order."""
