"""Plan: what a compression would give, before anything is cut."""

from __future__ import annotations

from dataclasses import dataclass

from pyedge.cloud.compression.cut import Cut
from pyedge.cloud.compression.report import plan_table
from pyedge.cloud.compression.student import Student
from pyedge.cloud.compression.surgery import build_student
from pyedge.cloud.shown import remember, remember_classes, remember_preprocessing


@dataclass(frozen=True)
class Plan(Cut):
    """Widths, parameters and multiply-accumulates of a student, for one threshold.

    Made by `pyedge.plan`. One pass over the images serves every P: `plan.at(0.8)` takes no other.
    """

    def build(self) -> Student:
        """Cut the student out of the teacher's copy (`pyedge.compress` is plan(...).build())."""
        student = build_student(self)
        remember(student, self.shown)
        remember_preprocessing(student, self.preprocessing)
        remember_classes(student, self.class_names)
        return student

    def table(self) -> str:
        """Return the plan as a table for the terminal."""
        return plan_table(self)

    def __str__(self) -> str:
        return self.table()
