"""Blobs in the cloud of weight pairs, found on all pairs: see docs/blob_detection.md."""

from diagnostics.blobs.structure import blob_structure, find_blobs

__all__ = ["blob_structure", "find_blobs"]
