"""How lesions are matched, and which of them count: what every metric of lesions declares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medpodium.challenges.schema.base import Model, Name
from medpodium.challenges.schema.metrics.plane import plane_connectivity


class RegionRule(Model):
    """What is different for the lesions of one structure.

    Parameters
    ----------
    dilation, min_voxels : int, optional
        As in :class:`LesionRule`; what that says when left out.
    beside : list of str
        Structures beside whose lesions several lesions of this one are one lesion: those that touch the same one, in
        both masks, structure by structure (BraTS 2024).
    """

    dilation: int | None = Field(default=None, ge=0, le=20)
    min_voxels: int | None = Field(default=None, ge=0)
    beside: list[Name] = Field(default_factory=list)

    def told(self) -> list[str]:
        """Return the differences in a few words each."""
        words = [f"{self.dilation} dilations"] if self.dilation is not None else []
        words += [f"from {self.min_voxels} voxels"] if self.min_voxels is not None else []
        return words + ([f"joined beside the same lesion of {', then '.join(self.beside)}"] if self.beside else [])


class LesionRule(Model):
    """How predicted lesions are matched to reference lesions; see :mod:`medpodium.scoring.measures.lesions.matching`.

    Parameters
    ----------
    connectivity : {6, 18, 26}, or {4, 8} in a plane
        Which voxels, or pixels, are neighbours; 26 (in a plane 8) when left out.
    overlap : {"any", "iou", "dice"}
        What makes a predicted lesion hit a reference lesion.
    threshold : float
        Smallest overlap that is a hit (``iou`` and ``dice``).
    matching : {"many", "greedy", "hungarian"}
        How hits become matches.
    min_volume_ml : float
        Smaller lesions are small.
    min_area_mm2 : float
        The same in a plane, in mm²; in pixels where it has no mm.
    min_voxels : int
        Lesions of fewer voxels, or pixels, are small.
    small : {"remove", "ignore", "ignore-reference"}
        What becomes of small lesions: removed from both masks; removed from the prediction, and those of the reference
        take part in the matching without being counted; or only the latter.
    dilation : int
        How often the reference is dilated by its 18-neighbourhood (in a plane 8): components whose dilations touch are
        one lesion, and a predicted one that meets the dilated lesion touches it. The masks stay as they are.
    joined : {"reference", "both"}
        Whose components the dilation joins.
    found_from : float
        Overlap (Dice for ``overlap: dice``, else intersection over union) from which a matched lesion counts as found;
        below it the lesion is missed, and its prediction is not invented.
    regions : dict of str to RegionRule
        What is different for some structures.
    """

    connectivity: Literal[4, 6, 8, 18, 26] = 26
    overlap: Literal["any", "iou", "dice"] = "any"
    threshold: float = Field(default=0.5, gt=0, le=1)
    matching: Literal["many", "greedy", "hungarian"] = "many"
    min_volume_ml: float = Field(default=0.0, ge=0)
    min_area_mm2: float = Field(default=0.0, ge=0)
    min_voxels: int = Field(default=0, ge=0)
    small: Literal["remove", "ignore", "ignore-reference"] = "remove"
    dilation: int = Field(default=0, ge=0, le=20)
    joined: Literal["reference", "both"] = "reference"
    found_from: float = Field(default=0.0, ge=0, le=1)
    regions: dict[Name, RegionRule] = Field(default_factory=dict)

    def of(self, structure: str) -> LesionRule:
        """Return the rule for the lesions of a structure, whatever touches them."""
        own = self.regions.get(structure)
        if own is None:
            return self
        given = {"dilation": own.dilation, "min_voxels": own.min_voxels}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})

    def beside(self, structure: str) -> list[str]:
        """Return the structures whose lesions join those of a structure, in their order."""
        return self.regions[structure].beside if structure in self.regions else []

    def connected(self, planar: bool) -> int:
        """Return which voxels, or pixels of a plane, are neighbours."""
        return plane_connectivity(self.connectivity) if planar else self.connectivity

    def smallest(self, planar: bool) -> float:
        """Return the smallest component that counts, in ml; in a plane in mm²."""
        return self.min_area_mm2 if planar else self.min_volume_ml

    @property
    def drops_small(self) -> bool:
        """Whether lesions may be too small to count."""
        voxels = [self.min_voxels, *(own.min_voxels or 0 for own in self.regions.values())]
        return max(self.min_volume_ml, self.min_area_mm2, float(max(voxels))) > 0

    def told(self, unit: str, planar: bool) -> list[str]:
        """Return the rule in a few words each."""
        hit = f"overlap {self.overlap}" if self.overlap == "any" else f"overlap {self.overlap} {self.threshold:g}"
        words = [f"connectivity {self.connected(planar)}", hit, f"matching {self.matching}"]
        if self.dilation:
            masks = "reference" if self.joined == "reference" else "both masks"
            words.append(f"{masks} joined by {self.dilation} dilations")
        sizes = [f"{self.smallest(planar):g} {unit}"] if self.smallest(planar) else []
        sizes += [f"{self.min_voxels} {'pixels' if planar else 'voxels'}"] if self.min_voxels else []
        done = {"remove": "removed", "ignore": "not counted", "ignore-reference": "of the reference not counted"}
        words += [f"components under {' or '.join(sizes)} {done[self.small]}"] if sizes else []
        words += [f"{name}: {' and '.join(own.told())}" for name, own in self.regions.items() if own.told()]
        return [*words, *([f"found from {self.found_from:g}"] if self.found_from else [])]


class LesionSize(Model):
    """Lesions of some sizes only; a reference lesion's own size decides, whatever it is matched to.

    Parameters
    ----------
    from_ml, below_ml : float, optional
        Lesions of at least, and of less than, this volume; in a plane an area in mm², or in pixels.
    from_voxels, below_voxels : int, optional
        The same in voxels, or pixels.
    invented : {"own", "all", "none"}
        Which invented lesions belong to them: those of that size, all or none.
    """

    from_ml: float | None = Field(default=None, ge=0)
    below_ml: float | None = Field(default=None, gt=0)
    from_voxels: int | None = Field(default=None, ge=0)
    below_voxels: int | None = Field(default=None, gt=0)
    invented: Literal["own", "all", "none"] = "own"

    @model_validator(mode="after")
    def _some_size(self) -> LesionSize:
        ml, voxels = (self.from_ml, self.below_ml), (self.from_voxels, self.below_voxels)
        if (ml == (None, None)) == (voxels == (None, None)):
            raise ValueError(
                "a class of sizes is given in ml or in voxels: from_ml, below_ml, from_voxels, below_voxels"
            )
        low, high = ml if voxels == (None, None) else voxels
        if low is not None and high is not None and low >= high:
            raise ValueError(f"no lesion has at least {low:g} and less than {high:g}")
        return self

    def told(self, unit: str) -> str:
        """Return the sizes in words."""
        in_voxels = (self.from_voxels, self.below_voxels) != (None, None)
        low, high = (self.from_voxels, self.below_voxels) if in_voxels else (self.from_ml, self.below_ml)
        unit = "voxels" if in_voxels else unit
        words = [f"from {low:g}"] if low is not None else []
        words += [f"below {high:g}"] if high is not None else []
        which = {"own": "", "all": ", all invented ones", "none": ", no invented ones"}[self.invented]
        return f"lesions {' '.join(words)} {unit}{which}"
