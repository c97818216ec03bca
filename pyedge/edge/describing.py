"""How images are described for statistics: by this process, or as another class says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyedge.images.digests import Digests, image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.student.file import StudentFile

if TYPE_CHECKING:
    from pyedge.kernels import Engine


class Describing:
    """Describe images in this process."""

    def engine(self, student: StudentFile) -> Engine:
        """Return what computes the features of a student."""
        return student.engine()

    def digests(self, images: EdgeImages) -> Digests:
        """Return a digest of each image."""
        return image_digests(images)
