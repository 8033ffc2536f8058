"""Which label is which structure in the label maps of programs that everybody uses.

TotalSegmentator's are those of its ``class_map`` (https://github.com/wasserth/TotalSegmentator,
``totalsegmentator/map_to_binary.py``, Apache-2.0): ``total`` of version 2 (Wasserthal et al., Radiology: Artificial
Intelligence 5, 2023) and ``total_mr``. Labels are numbered from 1 in their order.
"""

from __future__ import annotations

from medpodium.scoring.measuring.codes import MeasureCode, refuse

_SPINE = " ".join(f"vertebrae_{part}{n}" for part, most in (("L", 5), ("T", 12), ("C", 7)) for n in range(most, 0, -1))
_RIBS = " ".join(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13))
_ABDOMEN = "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left"
_VESSELS = "portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right"
_MUSCLES = " ".join(
    f"{name}_{side}"
    for name in ("gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas")
    for side in ("left", "right")
)


def _limbs(*names: str) -> str:
    return " ".join(f"{name}_{side}" for name in names for side in ("left", "right"))


_MAPS = {
    "totalsegmentator": f"""
        {_ABDOMEN} lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right
        lung_lower_lobe_right esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate
        kidney_cyst_left kidney_cyst_right sacrum vertebrae_S1 {_SPINE} heart aorta pulmonary_vein
        brachiocephalic_trunk subclavian_artery_right subclavian_artery_left common_carotid_artery_right
        common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right atrial_appendage_left
        superior_vena_cava inferior_vena_cava {_VESSELS} {_limbs("humerus", "scapula", "clavicula", "femur", "hip")}
        spinal_cord {_MUSCLES} brain skull {_RIBS} sternum costal_cartilages""",
    "totalsegmentator-mr": f"""
        {_ABDOMEN} lung_left lung_right esophagus small_bowel duodenum colon urinary_bladder prostate sacrum vertebrae
        intervertebral_discs spinal_cord heart aorta inferior_vena_cava {_VESSELS}
        {_limbs("humerus", "scapula", "clavicula", "femur", "hip")} {_MUSCLES} brain""",
}


def class_names(text: str) -> dict[str, int] | None:
    """Return the labels of ``totalsegmentator`` or ``totalsegmentator:liver,spleen`` by name; ``None`` for other text.

    Raises
    ------
    UsageError
        If such a map has no such structure.
    """
    program, _, wanted = text.partition(":")
    if program.strip().lower() not in _MAPS:
        return None
    labels = {name: label for label, name in enumerate(_MAPS[program.strip().lower()].split(), start=1)}
    names = [name.strip() for name in wanted.split(",")] if wanted.strip() else list(labels)
    strange = [name for name in names if name not in labels]
    if strange:
        cause = f"{program.strip()} has no structure {strange[0]!r}"
        fix = f"its structures are {', '.join(labels)}"
        raise refuse(MeasureCode.STRUCTURES, "--structures", cause, fix)
    return {name: labels[name] for name in names}
