"""What a learner does with its statistics: add to them, merge those of others, forget."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from pyedge.edge.analytic import forgotten, with_added
from pyedge.edge.joining import with_category, with_merged
from pyedge.edge.labelled import labelled_images
from pyedge.edge.solving import with_settings
from pyedge.keywords import keywords

if TYPE_CHECKING:
    from pyedge.edge.turns import Turns
    from pyedge.images.doubts import Doubts
    from pyedge.kernels import Engine
    from pyedge.statistics.sums import Statistics
    from pyedge.student.file import StudentFile


class Summing:
    """The part of EdgeLearner that works on statistics; after any error it is unchanged."""

    _turns: Turns
    _doubts: Doubts

    @property
    def statistics(self) -> Statistics | None:
        """The statistics of what the classifier reads, or None; see `pyedge.merge_statistics`."""
        return self._turns.student.statistics

    @keywords()
    def add_statistics(self, images: Any, labels: Any = None, *, forgettable: bool = True) -> None:
        """Add images to the statistics, or begin them; answers do not change until `learn`.

        Raises as `learn` does; stale statistics are begun anew.
        """
        given = labelled_images(self._turns.student, images, labels, "add_statistics")
        self._doubts.look(given, "add_statistics")

        def added() -> None:
            def add(student: StudentFile, engine: Engine, limit: int | None) -> StudentFile:
                found = with_added(engine, student, given, limit, forgettable=forgettable)
                assert found.statistics is not None
                return with_settings(found, found.statistics)

            self._turns.replace(self._turns.answer("add_statistics", add))

        self._turns.change("add_statistics", added)

    @keywords()
    def add_category(
        self, category: str | PathLike[str] | Statistics, *, name: str | None = None
    ) -> None:
        """Learn a class without any image of it, from a file of `pyedge.make_category`.

        `category`: the file, or Statistics of one class. Its class is appended to the student's,
        its sums are added to the statistics, and the classifier is solved anew. `name`: what the
        class is called here. A class that the student has, but has seen no image of, is learned; if
        the student has seen images of it, `name` must name it, and these images are added to them.

        `forget(pyedge.read_category(file))` takes it out again. Raises ValueError for statistics of
        other features, for a known class that `name` does not name, for a masked class, and for a
        student without statistics; FormatError for a file that is damaged or not a category.
        """

        def added() -> None:
            self._turns.replace(with_category(self._turns.student, category, name))

        self._turns.change("add_category", added)

    @keywords()
    def merge(
        self,
        statistics: Statistics | str | PathLike[str] | Iterable[Statistics | str | PathLike[str]],
    ) -> tuple[str, ...]:
        """Add statistics of other devices to the student's own, and solve for its classifier.

        `statistics`: Statistics or files of `pyedge.write_statistics`, one or several. Each must
        hold only what a device has seen beyond what is counted here (`pyedge.subtract_statistics`):
        what is given twice counts twice. Classes are matched by name; those that the student does
        not know are appended, and returned. The sums do not depend on the order.

        Raises ValueError for statistics of other features, for a masked class, and if nothing is
        known of some class of the student; FormatError for a damaged file.
        """

        def joined() -> tuple[str, ...]:
            student, added = with_merged(self._turns.student, statistics)
            self._turns.replace(student)
            return added

        return self._turns.change("merge", joined)

    @keywords()
    def forget(self, what: str | Statistics) -> None:
        """Forget a class, by its name, or statistics that were added before.

        The sums are then as if it had never been seen, to the last bit, and the classifier is
        solved anew from them. A forgotten class is also removed from the student's classes: the ids
        of those after it become one less. Raises ValueError for a class whose second moments are
        pooled with others, for statistics that were never added, and if nothing would be left.
        """

        def gone() -> None:
            self._turns.replace(forgotten(self._turns.student, what))

        self._turns.change("forget", gone)
