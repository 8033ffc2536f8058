"""The file formats read here, by the endings of their names: the one list that readers, patterns and lint share."""

from __future__ import annotations

from collections.abc import Sequence

DICOM = (".dcm",)
"""Ending of DICOM segmentations (SEG), which need the extra ``dicom``."""
VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd", ".seg.nrrd", ".nrrd", *DICOM)
"""Endings of label maps that say how large a voxel is and where it lies; ``{extension}`` stands for these.

Longer ones come first: ``liver_1.seg.nrrd`` is the segmentation of ``liver_1``.
"""
NAMED = (".seg.nrrd", *DICOM)
"""Endings of files whose segments have names: no collected output, which is a label map."""
PICTURES = (".png", ".tif", ".tiff")
"""Endings of label maps in a plane that say neither."""
MASKS = (*VOLUMES, *PICTURES)
"""Endings of label maps (:mod:`medpodium.scoring.masks.reader`); capitals do not matter."""
TABLES = (".csv", ".tsv", ".txt")
"""Endings of tables (:mod:`medpodium.challenges.rows`): delimited text, whatever the separator."""

LINES = (".jsonl", ".ndjson")
"""Endings of files with one JSON record per line."""
RECORDS = (*LINES, ".parquet", ".json")
"""Endings of tables with one record per row that are no delimited text, and of one record (or a list of them)."""


def may_be_read(pattern: str, endings: Sequence[str]) -> bool:
    """Return whether a file of this pattern can have one of the endings.

    A pattern that ends in a placeholder or in ``*`` leaves the ending open.
    """
    return pattern.endswith(("}", "*")) or pattern.lower().endswith(tuple(endings))
