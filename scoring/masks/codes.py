"""The closed list of what can be wrong with a mask file, a folder of masks, or a pair of masks."""

from __future__ import annotations

from pathlib import Path

from medpodium.findings import Code, Finding, MedpodiumError, Severity


class MaskCode(Code):
    """Every situation in which a mask, a folder of masks or a pair of masks is not as it should be."""

    # The file itself
    FILE_MISSING = "mask-file-missing"
    FILE_SYMLINK = "mask-file-symlink"
    FILE_FIFO = "mask-file-fifo"
    """A pipe stands where a file is asked for, and reading it would wait forever.

    Write the mask itself.
    """
    FILE_SOCKET = "mask-file-socket"
    """A socket stands where a file is asked for.

    Write the mask itself.
    """
    FILE_DEVICE = "mask-file-device"
    FILE_DIRECTORY = "mask-file-directory"
    """A folder stands where a file is asked for.

    Write the mask itself under this name.
    """
    FILE_UNREADABLE = "mask-file-unreadable"
    FILE_EMPTY = "mask-file-empty"
    """The file has no content."""
    FILE_TOO_LARGE = "mask-file-too-large"
    FILE_REPLACED = "mask-file-replaced-while-opening"

    # The format
    FORMAT_UNKNOWN = "mask-format-unknown"
    FORMAT_MISMATCH = "mask-format-mismatch"
    EXTRA_MISSING = "mask-format-needs-extra"
    HEADER_TRUNCATED = "mask-header-truncated"
    HEADER_INVALID = "mask-header-invalid"
    HEADER_TOO_LARGE = "mask-header-too-large"
    DATA_DETACHED = "mask-data-detached"
    ENCODING_UNSUPPORTED = "mask-encoding-unsupported"
    TYPE_UNSUPPORTED = "mask-type-unsupported"
    TYPE_COLOUR = "mask-type-colour"
    TYPE_COMPLEX = "mask-type-complex"
    TYPE_VECTOR = "mask-type-vector"
    TYPE_WIDE = "mask-type-wide"
    SHAPE_INVALID = "mask-shape-invalid"
    SHAPE_TOO_LARGE = "mask-shape-too-large"
    FOUR_DIMENSIONAL = "mask-four-dimensional"
    ONE_HOT_STACK = "mask-one-hot-stack"
    """The file has a fourth axis of classes.

    Save one label map, or declare overlapping structures.
    """
    PROBABILITY_MAP = "mask-probability-map"
    SINGLETON_DIMENSION = "mask-singleton-dimension"
    SCALING_INVALID = "mask-scaling-invalid"
    SCALING_IGNORED = "mask-scaling-ignored"
    SCALING_APPLIED = "mask-scaling-applied"
    SPACING_INVALID = "mask-spacing-invalid"
    SPACING_MISSING = "mask-spacing-missing"
    PAGES = "mask-several-pages"
    LOSSY = "mask-compressed-with-loss"
    AFFINE_INVALID = "mask-affine-invalid"
    DIRECTION_STRETCHED = "mask-direction-stretched"
    AFFINE_SHEARED = "mask-affine-sheared"
    UNITS_NOT_MM = "mask-units-not-mm"
    ORIENTATION_MISSING = "mask-orientation-missing"
    QFORM_SFORM_DISAGREE = "mask-qform-sform-disagree"
    ORIENTATION_ODD = "mask-orientation-odd"
    PIXDIM_SFORM_DISAGREE = "mask-pixdim-sform-disagree"
    """The header states two different spacings, and readers differ in which one they take."""
    HEADER_ODD = "mask-header-odd"
    HEADER_EXTENSION = "mask-header-extension"

    # The voxels
    DATA_TRUNCATED = "mask-data-truncated"
    DATA_CORRUPT = "mask-data-corrupt"
    DATA_BEYOND_VOLUME = "mask-data-beyond-volume"
    DATA_TRAILING = "mask-data-trailing"
    VALUE_NAN = "mask-value-nan"
    """A voxel is no number."""
    VALUE_INFINITE = "mask-value-infinite"
    """A voxel is infinite."""
    VALUE_NOT_INTEGRAL = "mask-value-not-integral"
    """A voxel is no whole number."""
    VALUE_NEGATIVE = "mask-value-negative"
    """A voxel is negative."""
    VALUE_TOO_LARGE = "mask-value-too-large"
    """A voxel is larger than any label."""
    LABEL_UNKNOWN = "mask-label-unknown"
    LABEL_WRAPS = "mask-label-wraps"
    """Labels above 255 become others wherever masks are read as 8 bits."""
    STRUCTURE_NOT_BINARY = "mask-structure-not-binary"
    STRUCTURES_OVERLAP = "mask-structures-overlap"

    # Segments that a file names
    SEGMENTS_NAMED = "mask-segments-named"
    SEGMENT_MATCHED = "mask-segment-matched-loosely"
    SEGMENT_MISSING = "mask-segment-missing"

    # Two grids
    SHAPE_DIFFERS = "geometry-shape-differs"
    AXES_SWAPPED = "geometry-axes-swapped"
    AXIS_FLIPPED = "geometry-axis-flipped"
    SPACING_DIFFERS = "geometry-spacing-differs"
    DIRECTION_DIFFERS = "geometry-direction-differs"
    ORIGIN_DIFFERS = "geometry-origin-differs"

    # A folder
    FOLDER_MISSING = "folder-missing"
    FOLDER_TOO_FULL = "folder-too-full"
    """A folder holds far more files than there can be masks, or is nested too deeply to be looked through."""
    NAME_CONTROL_CHARACTER = "folder-name-control-character"
    NAME_NOT_UNICODE = "folder-name-not-unicode"
    NAME_DUPLICATE_CASE = "folder-name-duplicate-by-case"
    """Two files could be the same case on a machine that ignores capitals.

    Rename one, or remove it.
    """
    NAME_DUPLICATE_UNICODE = "folder-name-duplicate-by-unicode-form"
    """Two files could be the same case on a machine that composes accents.

    Rename one, or remove it.
    """
    NAME_OTHER_EXTENSION = "folder-name-other-extension"
    NAME_TWO_MEANINGS = "folder-name-two-meanings"
    NAMES_DIFFER = "folder-names-differ"
    """Many files have names that differ from those asked for in the same way.

    Rename them by the rule that is named.
    """
    CASE_MISSING = "folder-case-missing"
    FILE_EXTRA = "folder-file-extra"
    FILE_SHARED = "folder-file-shared"

    # Two masks
    STRUCTURE_MISSING = "prediction-structure-missing"
    PREDICTION_EMPTY = "prediction-empty"
    OVERLAP_LOW = "prediction-overlap-low"
    LOOKS_FLIPPED = "prediction-looks-flipped"
    """Overlap is low, and would be high if an axis were reversed."""
    LOOKS_TRANSPOSED = "prediction-looks-transposed"
    """Overlap is low, and would be high with other axes."""
    LOOKS_RELABELLED = "prediction-looks-relabelled"
    """Overlap is low, and would be high with other labels."""
    LOOKS_SHIFTED = "prediction-looks-shifted"
    """Overlap is low, and would be high some voxels away."""


class MaskError(MedpodiumError):
    """A mask that cannot be used, with the findings that say why."""


def printable(name: str | Path) -> str:
    """Return a file name that is safe to print: control characters and undecodable bytes as escapes."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def finding(code: MaskCode, where: str | Path, cause: str, fix: str, severity: Severity = Severity.ERROR) -> Finding:
    """Make a finding about a file whose name may be hostile."""
    return Finding(code, printable(where), printable(cause), fix, severity)


def warning(code: MaskCode, where: str | Path, cause: str, fix: str) -> Finding:
    """Make a finding that does not stop the mask from being used."""
    return finding(code, where, cause, fix, Severity.WARNING)


def refusal(code: MaskCode, where: str | Path, cause: str, fix: str) -> MaskError:
    """Return an error with one finding, to be raised."""
    return MaskError(finding(code, where, cause, fix))
