"""A teacher that a learner can ask while it learns: in a cloud, or anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pyedge.edge.labelled import labelled_images
from pyedge.errors import OfflineError
from pyedge.images.edge_images import EdgeImages
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.knowledge.pack import Knowledge
    from pyedge.student.file import StudentFile


class Teacher(Protocol):
    """What `learn` needs of a cloud; `pyedge.Cloud` has it."""

    def knowledge(self, student: StudentFile, images: EdgeImages, *, maps: bool) -> Knowledge:
        """Return what a teacher knows of images; OfflineError if it cannot be reached."""
        ...


def taught(
    student: StudentFile, images: Any, labels: Any, teacher: Teacher, way: str
) -> tuple[Any, Knowledge | None]:
    """Ask a teacher about images; return them, read once, and its knowledge.

    labels: as `learn` has them, or None. way: of `chosen_method`. The knowledge is None if labels
    are enough, or all that there is while the teacher cannot be reached.
    """
    if way == "labels" or (way == "statistics" and labels is not None):
        return images, None
    if labels is None:
        given = EdgeImages.of(
            images, student.input_shape, labelled=False, preprocessing=student.preprocessing
        )
    else:
        given = labelled_images(student, images, labels, "learn")
    try:
        return given, teacher.knowledge(student, given, maps=way != "statistics")
    except OfflineError as error:
        if labels is None:
            raise
        warn(f"learn: {error}; the images are learned from their labels alone")
        return given, None
