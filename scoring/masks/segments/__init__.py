"""Files that name their segments, which may overlap and leave out what is empty: 3D Slicer's and DICOM's."""
