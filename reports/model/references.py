"""What a report cites: methods, metrics and the sources of a challenge, with whatever mentions each in a text.

A text cites a reference by naming it, so what is cited is found by reading: nothing is cited that no sentence mentions,
and nothing that is mentioned goes without its reference. Titles, pages and identifiers were compared with the
publishers' records as public bibliographies give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpodium.challenges.schema.definition import Challenge


@dataclass(frozen=True)
class Reference:
    """A work that texts refer to.

    Parameters
    ----------
    key : str
        Name in bibliographies.
    kind : {"article", "inproceedings", "misc"}
        Type of BibTeX.
    fields : mapping of str to str
        Fields of BibTeX, plain text; authors as ``Family, Given and Family, Given``.
    said : pattern
        What in a text mentions it.
    """

    key: str
    kind: str
    fields: Mapping[str, str]
    said: re.Pattern[str] = field(repr=False)

    @property
    def text(self) -> str:
        """The reference as one line of a list."""
        own = self.fields
        names = [name.partition(",")[0].strip("{}") for name in own.get("author", "").split(" and ") if name]
        if "others" in names:
            names = [*names[:1], "et al."]
        who = " ".join(names) if "et al." in names else ", ".join(names)
        where = " ".join(filter(None, [own.get("journal") or own.get("booktitle"), own.get("volume")]))
        where += f":{own['pages'].replace('--', '–')}" if "pages" in own else ""
        link = f"doi:{own['doi']}" if "doi" in own else own.get("url", "")
        told = [
            f"{who} ({own['year']})" if who and "year" in own else who,
            own["title"],
            where,
            link,
            own.get("note", ""),
        ]
        return f"{'. '.join(one for one in told if one)}."


def _work(key: str, said: str, author: str, title: str, year: int, **more: str) -> Reference:
    kind = "inproceedings" if "booktitle" in more else "article" if "journal" in more else "misc"
    own = {"author": author, "title": title, **more, "year": str(year)}
    return Reference(key, kind, own, re.compile(said))


_CVPR = "IEEE/CVF Conference on Computer Vision and Pattern Recognition"
_JASA = "Journal of the American Statistical Association"
WORKS = (
    _work("bias2020", r"BIAS (statement|checklist)",
          "Maier-Hein, Lena and Reinke, Annika and Kozubek, Michal and others",
          "BIAS: Transparent reporting of biomedical image analysis challenges", 2020,
          journal="Medical Image Analysis", volume="66", pages="101796", doi="10.1016/j.media.2020.101796"),
    _work("efron1979", r"bootstrap resamples?", "Efron, Bradley",
          "Bootstrap methods: another look at the jackknife", 1979,
          journal="The Annals of Statistics", volume="7", number="1", pages="1--26", doi="10.1214/aos/1176344552"),
    _work("efron1987", r"[Bb]ias-corrected and accelerated", "Efron, Bradley",
          "Better bootstrap confidence intervals", 1987,
          journal=_JASA, volume="82", number="397", pages="171--185", doi="10.1080/01621459.1987.10478410"),
    _work("kendall1945", r"Kendall's tau(-b)?", "Kendall, Maurice G.",
          "The treatment of ties in ranking problems", 1945,
          journal="Biometrika", volume="33", number="3", pages="239--251", doi="10.1093/biomet/33.3.239"),
    _work("wiesenfarth2021", r"challengeR", "Wiesenfarth, Manuel and Reinke, Annika and Landman, Bennett A. and others",
          "Methods and open-source toolkit for analyzing and visualizing challenge results", 2021,
          journal="Scientific Reports", volume="11", pages="2369", doi="10.1038/s41598-021-82017-6"),
    _work("mogstad2024", r"Mogstad, Romano, Shaikh and Wilhelm 2024",
          "Mogstad, Magne and Romano, Joseph P. and Shaikh, Azeem M. and Wilhelm, Daniel",
          "Inference for ranks with applications to mobility across neighbourhoods and academic achievement across "
          "countries", 2024, journal="The Review of Economic Studies", volume="91", number="1", pages="476--518",
          doi="10.1093/restud/rdad006"),
    _work("piepho2004", r"share a letter", "Piepho, Hans-Peter",
          "An algorithm for a letter-based representation of all-pairwise comparisons", 2004,
          journal="Journal of Computational and Graphical Statistics", volume="13", number="2", pages="456--466",
          doi="10.1198/1061860043515"),
    _work("wilcoxon1945", r"Wilcoxon signed-rank tests?", "Wilcoxon, Frank",
          "Individual comparisons by ranking methods", 1945,
          journal="Biometrics Bulletin", volume="1", number="6", pages="80--83", doi="10.2307/3001968"),
    _work("holm1979", r"Holm's (adjustment|method)", "Holm, Sture",
          "A simple sequentially rejective multiple test procedure", 1979,
          journal="Scandinavian Journal of Statistics", volume="6", number="2", pages="65--70",
          url="https://www.jstor.org/stable/4615733"),
    _work("friedman1937", r"Friedman test", "Friedman, Milton",
          "The use of ranks to avoid the assumption of normality implicit in the analysis of variance", 1937,
          journal=_JASA, volume="32", number="200", pages="675--701", doi="10.1080/01621459.1937.10503522"),
    _work("demsar2006", r"Nemenyi's critical difference", "Demšar, Janez",
          "Statistical comparisons of classifiers over multiple data sets", 2006,
          journal="Journal of Machine Learning Research", volume="7", pages="1--30",
          url="https://www.jmlr.org/papers/v7/demsar06a.html"),
    _work("christodoulou2025", r"Christodoulou et al\. \(arXiv 2505\.04720\)", "Christodoulou, Evangelia and others",
          "False promises in medical imaging AI? Assessing validity of outperformance claims", 2025,
          note="arXiv:2505.04720", url="https://arxiv.org/abs/2505.04720"),
    _work("schuirmann1987", r"Schuirmann 1987", "Schuirmann, Donald J.",
          "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of "
          "average bioavailability", 1987, journal="Journal of Pharmacokinetics and Biopharmaceutics", volume="15",
          number="6", pages="657--680", doi="10.1007/BF01068419"),
    _work("goeman2011", r"Goeman and Solari 2011", "Goeman, Jelle J. and Solari, Aldo",
          "Multiple testing for exploratory research",
          2011, journal="Statistical Science", volume="26", number="4", pages="584--597", doi="10.1214/11-STS356"),
    _work("wilson1927", r"Wilson's", "Wilson, Edwin B.",
          "Probable inference, the law of succession, and statistical inference",
          1927, journal=_JASA, volume="22", number="158", pages="209--212", doi="10.1080/01621459.1927.10502953"),
    _work("delong1988", r"DeLong's", "DeLong, Elizabeth R. and DeLong, David M. and Clarke-Pearson, Daniel L.",
          "Comparing the areas under two or more correlated receiver operating characteristic curves: a nonparametric "
          "approach", 1988, journal="Biometrics", volume="44", number="3", pages="837--845", doi="10.2307/2531595"),
    _work("dolan2002", r"[Pp]erformance profiles?", "Dolan, Elizabeth D. and Moré, Jorge J.",
          "Benchmarking optimization software with performance profiles", 2002, journal="Mathematical Programming",
          volume="91", number="2", pages="201--213", doi="10.1007/s101070100263"),
    _work("dice1945", r"Dice 1945", "Dice, Lee R.",
          "Measures of the amount of ecologic association between species", 1945,
          journal="Ecology", volume="26", number="3", pages="297--302", doi="10.2307/1932409"),
    _work("jaccard1912", r"Jaccard 1912", "Jaccard, Paul", "The distribution of the flora in the alpine zone", 1912,
          journal="New Phytologist", volume="11", number="2", pages="37--50",
          doi="10.1111/j.1469-8137.1912.tb05611.x"),
    _work("taha2015", r"Taha and Hanbury 2015", "Taha, Abdel Aziz and Hanbury, Allan",
          "Metrics for evaluating 3D medical image segmentation: analysis, selection, and tool", 2015,
          journal="BMC Medical Imaging", volume="15", pages="29", doi="10.1186/s12880-015-0068-x"),
    _work("nikolov2021", r"Nikolov et al\. 2018(, arXiv:1809\.04430)?",
          "Nikolov, Stanislav and Blackwell, Sam and Zverovitch, Alexei and others",
          "Clinically applicable segmentation of head and neck anatomy for radiotherapy: deep learning algorithm "
          "development and validation study", 2021, journal="Journal of Medical Internet Research", volume="23",
          number="7", pages="e26151", doi="10.2196/26151", note="arXiv:1809.04430 (2018)"),
    _work("huttenlocher1993", r"Huttenlocher et al\. 1993",
          "Huttenlocher, Daniel P. and Klanderman, Gregory A. and Rucklidge, William J.",
          "Comparing images using the Hausdorff distance", 1993,
          journal="IEEE Transactions on Pattern Analysis and Machine Intelligence", volume="15", number="9",
          pages="850--863", doi="10.1109/34.232073"),
    _work("cheng2021", r"Cheng et al\. 2021", "Cheng, Bowen and others",
          "Boundary IoU: improving object-centric image segmentation evaluation", 2021, booktitle=_CVPR,
          pages="15334--15342", doi="10.1109/CVPR46437.2021.01508"),
    _work("shit2021", r"Shit et al\. 2021",
          "Shit, Suprosanna and Paetzold, Johannes C. and Sekuboyina, Anjany and others",
          "clDice: a novel topology-preserving loss function for tubular structure segmentation", 2021, booktitle=_CVPR,
          doi="10.1109/CVPR46437.2021.01629"),
    _work("kirillov2019", r"Kirillov et al\. 2019", "Kirillov, Alexander and others", "Panoptic segmentation", 2019,
          booktitle=_CVPR, doi="10.1109/CVPR.2019.00963"),
    _work("cohen1960", r"Cohen 1960", "Cohen, Jacob", "A coefficient of agreement for nominal scales", 1960,
          journal="Educational and Psychological Measurement", volume="20", number="1", pages="37--46",
          doi="10.1177/001316446002000104"),
    _work("uno2011", r"Uno 2011", "Uno, Hajime and others",
          "On the C-statistics for evaluating overall adequacy of risk prediction procedures with censored survival "
          "data", 2011, journal="Statistics in Medicine", volume="30", number="10", pages="1105--1117",
          doi="10.1002/sim.4154"),
    _work("cohen1968", r"Cohen 1968", "Cohen, Jacob",
          "Weighted kappa: nominal scale agreement provision for scaled disagreement or partial credit", 1968,
          journal="Psychological Bulletin", volume="70", number="4", pages="213--220", doi="10.1037/h0026256"),
    _work("gorodkin2004", r"Gorodkin 2004", "Gorodkin, Jan",
          "Comparing two K-category assignments by a K-category correlation coefficient", 2004,
          journal="Computational Biology and Chemistry", volume="28", number="5-6", pages="367--374",
          doi="10.1016/j.compbiolchem.2004.09.006"),
    _work("caicedo2019", r"Caicedo et al\. 2019", "Caicedo, Juan C. and others",
          "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl", 2019,
          journal="Nature Methods", volume="16", pages="1247--1253", doi="10.1038/s41592-019-0612-7"),
    _work("guo2017", r"Guo 2017", "Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.",
          "On calibration of modern neural networks", 2017,
          booktitle="International Conference on Machine Learning",
          url="https://proceedings.mlr.press/v70/guo17a.html"),
    _work("harrell1996", r"Harrell 1996", "Harrell, Frank E. and Lee, Kerry L. and Mark, Daniel B.",
          "Multivariable prognostic models: issues in developing models, evaluating assumptions and adequacy, and "
          "measuring and reducing errors", 1996, journal="Statistics in Medicine", volume="15", number="4",
          pages="361--387", doi="10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4"),
    _work("hung2010", r"Hung 2010", "Hung, Hung and Chiang, Chin-Tsang",
          "Estimation methods for time-dependent AUC models with survival data", 2010,
          journal="Canadian Journal of Statistics", volume="38", number="1", pages="8--26", doi="10.1002/cjs.10046"),
    _work("lin1989", r"Lin 1989", "Lin, Lawrence I-Kuei",
          "A concordance correlation coefficient to evaluate reproducibility", 1989, journal="Biometrics",
          volume="45", number="1", pages="255--268", doi="10.2307/2532051"),
    _work("mcgraw1996", r"McGraw and Wong 1996", "McGraw, Kenneth O. and Wong, S. P.",
          "Forming inferences about some intraclass correlation coefficients", 1996, journal="Psychological Methods",
          volume="1", number="1", pages="30--46", doi="10.1037/1082-989X.1.1.30"),
    _work("bland1986", r"Bland and Altman 1986", "Bland, J. Martin and Altman, Douglas G.",
          "Statistical methods for assessing agreement between two methods of clinical measurement", 1986,
          journal="The Lancet", volume="327", number="8476", pages="307--310", doi="10.1016/S0140-6736(86)90837-8"),
)  # fmt: skip
"""What the sentences of reports may mention."""


def of_challenge(challenge: Challenge) -> list[Reference]:
    """Return the sources that a challenge file names with an address; the challenge's title mentions them."""
    found: list[Reference] = []
    said = re.compile(re.escape(challenge.title))
    for source in challenge.sources:
        if not source.url:
            continue
        fields = {"title": source.title, "url": source.url, "key": challenge.name}
        if "doi.org/" in source.url:
            fields["doi"] = source.url.partition("doi.org/")[2]
        found.append(Reference(f"{challenge.name}-{len(found) + 1}", "misc", fields, said))
    return found


def cited(texts: Iterable[str], known: Iterable[Reference]) -> tuple[Reference, ...]:
    """Return what of the known works some texts mention, in the order in which they do."""
    left = list(known)
    found: list[Reference] = []
    for text in texts:
        own = sorted(
            ((match.start(), work) for work in left if (match := work.said.search(text))), key=lambda one: one[0]
        )
        found += [work for _, work in own]
        left = [work for work in left if work not in found]
    return tuple(found)


def split(text: str, known: Iterable[Reference]) -> Iterator[tuple[str, list[str]]]:
    """Cut a text behind what mentions a work: yield pieces and the keys of what is cited behind each."""
    ends: dict[int, list[str]] = {}
    for work in known:
        if match := work.said.search(text):
            ends.setdefault(match.end(), []).append(work.key)
    start = 0
    for end in sorted(ends):
        yield text[start:end], ends[end]
        start = end
    if start < len(text):
        yield text[start:], []
